# syntax=docker/dockerfile:1
# The API: HTTP in, HTTP out. No torch, no GPU.
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/congeal
COPY . .
RUN /opt/congeal/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.12-slim
RUN useradd --uid 10001 --create-home congeal \
    && install --directory --owner congeal /data
COPY --from=build /opt/congeal /opt/congeal
ENV PATH=/opt/congeal/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CONGEAL_DATA_DIR=/data \
    CONGEAL_HOST=0.0.0.0 \
    CONGEAL_PORT=8000
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import httpx; httpx.get('http://127.0.0.1:8000/readyz', timeout=2).raise_for_status()"]
CMD ["congeal", "serve"]
