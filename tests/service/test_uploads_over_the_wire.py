"""Uploads that go wrong between the client and the disk, against a process of its own."""

import json
import socket
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest

from storage.database.session import Database
from tests.service.pictures import encoded, noise, png
from tests.service.requests import problem, upload
from tests.service.servers import ServiceProcess, serving_process

FILE_SIZE_LIMIT = 1_000_000
NOISE_SIDE = 700


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    limits = {"CONGEAL_MAX_BODY_BYTES": "3000000", "CONGEAL_MAX_JSON_BYTES": "2000"}
    with serving_process(tmp_path_factory.mktemp("wire"), environment=limits) as service:
        yield service


def multipart_head(port: int, *, length: int) -> bytes:
    return (
        f"POST /v1/images HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\n\r\n'
    ).encode()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def uploads(service: ServiceProcess) -> list[Path]:
    return list((service.data_dir / "uploads").glob("*"))


def stored(service: ServiceProcess) -> list[Path]:
    return [path for path in (service.data_dir / "blobs").rglob("*") if path.is_file() and "probes" not in path.parts]


def image_rows(service: ServiceProcess) -> int:
    database = Database(f"sqlite:///{service.data_dir / 'congeal.db'}")
    with database.transaction(read_only=True) as session:
        count = session.connection().exec_driver_sql("SELECT count(*) FROM images").scalar_one()
    database.dispose()
    return int(count)


def test_an_upload_that_is_cut_off_leaves_nothing(process: ServiceProcess) -> None:
    content = png(1, (300, 300))
    with socket.create_connection(("127.0.0.1", process.port)) as client:
        client.sendall(multipart_head(process.port, length=len(content) + 500) + content[:200_000])
        until(lambda: bool(uploads(process)) and uploads(process)[0].joinpath("0").stat().st_size > 100_000)
    until(lambda: uploads(process) == [])
    until(lambda: "status=499" in process.log.read_text())
    assert stored(process) == []
    assert "Traceback" not in process.log.read_text()
    with httpx.Client(base_url=process.url, trust_env=False) as alive:
        assert upload(alive, [("a.png", png(1))]).status_code == 201


def test_a_body_that_declares_too_much_is_refused_at_once(process: ServiceProcess) -> None:
    with socket.create_connection(("127.0.0.1", process.port)) as client:
        client.settimeout(5)
        client.sendall(multipart_head(process.port, length=3_000_001))
        answer = HTTPResponse(client)
        answer.begin()
        body = answer.read()
    assert answer.status == 413
    refusal = json.loads(body)
    assert refusal["code"] == "body-too-large"
    assert "3000000 bytes" in refusal["detail"]
    assert "3000001" in refusal["detail"]
    assert "split the request" in refusal["detail"]


def test_a_whole_body_that_is_too_large_gets_its_refusal(process: ServiceProcess) -> None:
    with httpx.Client(base_url=process.url, trust_env=False) as client:
        files = [(f"{seed}.png", png(seed, (600, 600))) for seed in range(3)]
        problem(upload(client, files), "body-too-large", 413)


def test_a_body_of_unknown_length_is_counted(process: ServiceProcess) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 100

    with httpx.Client(base_url=process.url, trust_env=False) as client:
        headers = {"Content-Type": "application/json"}
        for path in ("/v1/jobs", "/v1/image-sets"):
            answer = client.post(path, content=chunks(), headers=headers)
            assert "2000 bytes" in problem(answer, "body-too-large", 413)["detail"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    # A limit on the size of files fails a write as a full disk does; the stored PNG exceeds it, the lossy WebP not.
    webp = encoded(noise(1, (NOISE_SIDE, NOISE_SIDE)), "WEBP", quality=30)
    assert len(webp) < FILE_SIZE_LIMIT
    with (
        serving_process(tmp_path, file_size_limit=FILE_SIZE_LIMIT) as service,
        httpx.Client(base_url=service.url, trust_env=False) as client,
    ):
        for content in (png(1, (NOISE_SIDE, NOISE_SIDE)), webp):
            body = problem(upload(client, [("small.png", png(2)), ("a", content)]), "insufficient-storage", 507)
            assert "nothing was stored" in body["detail"]
            assert "free space" in body["detail"]
            assert uploads(service) == []
            assert stored(service) == []
            assert image_rows(service) == 0
        assert upload(client, [("small.png", png(2))]).status_code == 201
        assert len(stored(service)) == 1
    assert "Traceback" not in service.log.read_text()
