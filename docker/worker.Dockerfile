# syntax=docker/dockerfile:1
# A worker: one supervisor and one runner that owns one GPU. torch's wheels bring their CUDA libraries; the base image
# brings the CUDA runtime and the settings by which the container toolkit hands the GPU in.
FROM nvidia/cuda:12.8.1-base-ubuntu24.04 AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python3 -m venv /opt/congeal
COPY . .
RUN /opt/congeal/bin/pip install --no-cache-dir -c constraints.txt ".[worker]"

FROM nvidia/cuda:12.8.1-base-ubuntu24.04
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home congeal \
    && install --directory --owner congeal /data /weights /weights/huggingface
COPY --from=build /opt/congeal /opt/congeal
ENV PATH=/opt/congeal/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    CONGEAL_DATA_DIR=/data \
    CONGEAL_WEIGHTS_DIR=/weights \
    HF_HOME=/weights/huggingface
USER 10001
WORKDIR /data
VOLUME ["/data", "/weights"]
HEALTHCHECK --interval=15s --timeout=5s --start-period=90s --retries=3 \
    CMD ["python", "-m", "workers.health"]
STOPSIGNAL SIGTERM
CMD ["congeal", "worker"]
