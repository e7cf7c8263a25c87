"""Operation: readiness, versions, what is imported, and what a dead broker costs."""

import shutil
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.dependencies import Services
from service.settings import ServiceSettings
from tests.service.conftest import MakeSettings
from tests.service.requests import pointers, problem, submit, uploaded_ids
from tests.service.servers import serving_thread


def test_the_entry_leads_everywhere(client: TestClient) -> None:
    entry = client.get("/").json()
    assert entry["name"] == "congeal"
    for link in entry["links"].values():
        assert client.get(link).status_code in (200, 405)
    version = client.get("/version").json()
    assert (version["api"], version["congeal"]) == ("v1", entry["version"])


def test_a_service_in_order_is_ready(client: TestClient) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    ready = client.get("/readyz")
    assert ready.json() == {"status": "ready", "checks": ["database", "migrations", "blobs"]}
    assert ready.headers["cache-control"] == "no-store"


def test_a_database_without_migrations_is_not_ready(tmp_path: Path) -> None:
    settings = ServiceSettings(data_dir=tmp_path, database_url=None, broker_url=None, migrate_on_start=False)
    with TestClient(create_app(settings)) as client:
        answer = client.get("/readyz")
        body = problem(answer, "not-ready", 503)
        assert pointers(body) == ["migrations"]
        assert "CONGEAL_MIGRATE_ON_START" in body["detail"]
        assert int(answer.headers["retry-after"]) > 0
        assert client.get("/livez").status_code == 200


def test_a_database_that_is_gone_is_not_ready(client: TestClient, services: Services) -> None:
    services.database.dispose()
    shutil.rmtree(services.settings.data_dir)
    services.settings.data_dir.write_text("a file where the folder was")
    assert {"database", "blobs"} <= set(pointers(problem(client.get("/readyz"), "not-ready", 503)))
    problem(client.get("/v1/jobs"), "not-ready", 503)


def test_the_database_is_migrated_at_start(tmp_path: Path) -> None:
    settings = ServiceSettings(data_dir=tmp_path, database_url=None, broker_url=None)
    with TestClient(create_app(settings)) as client:
        assert client.get("/readyz").status_code == 200


def test_a_broker_that_does_not_answer_slows_nobody(make_settings: MakeSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        with TestClient(create_app(make_settings(broker_url=url))) as client:
            image_ids = uploaded_ids(client, 2)
            began = time.monotonic()
            for _ in range(3):
                submit(client, image_ids)
            assert time.monotonic() - began < 1.5


def test_uploads_of_killed_processes_are_removed_at_start(make_settings: MakeSettings) -> None:
    settings = make_settings()
    old, fresh = settings.uploads_dir / "old", settings.uploads_dir / "fresh"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
        (folder / "0").write_bytes(b"half an image")
    subprocess.run(["touch", "-d", "2 days ago", str(old)], check=True)
    with TestClient(create_app(settings)):
        assert [path.name for path in settings.uploads_dir.iterdir()] == ["fresh"]


def test_requests_that_wait_are_let_go_at_the_end(make_settings: MakeSettings) -> None:
    app = create_app(make_settings())
    with ThreadPoolExecutor(2) as pool:
        with serving_thread(app) as url, httpx.Client(base_url=url, trust_env=False) as client:
            links = submit(client, uploaded_ids(client, 2))["links"]
            waiting = pool.submit(httpx.get, url + links["self"], headers={"Prefer": "wait=30"}, trust_env=False)
            following = pool.submit(httpx.get, url + links["events"], trust_env=False)
            time.sleep(0.5)
            began = time.monotonic()
        assert time.monotonic() - began < 4
    assert (waiting.result().status_code, waiting.result().json()["state"]) == (200, "queued")
    assert "job.queued" in following.result().text


def test_the_api_never_imports_torch(tmp_path: Path) -> None:
    code = """
import sys
from fastapi.testclient import TestClient
from service.app import create_app
from service.settings import ServiceSettings
with TestClient(create_app(ServiceSettings())) as client:
    assert client.get("/v1/methods").json()["items"]
    assert client.post("/v1/jobs", json={}).status_code == 422
heavy = {"torch", "torchvision", "timm", "diffusers", "cv2", "scipy", "workers"} & set(sys.modules)
assert not heavy, heavy
"""
    environment = {"CONGEAL_DATA_DIR": str(tmp_path), "PATH": ""}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=Path(__file__).parents[2], check=True)


def test_the_whole_way_on_postgresql(postgres_url: str, make_settings: MakeSettings) -> None:
    with TestClient(create_app(make_settings(database_url=postgres_url))) as client:
        assert client.get("/readyz").status_code == 200
        image_ids = uploaded_ids(client, 2)
        job = submit(client, image_ids, name="Zoë's cats", labels={"team": "felines"})
        assert [item["id"] for item in client.get("/v1/jobs", params={"limit": 1}).json()["items"]] == [job["id"]]
        answer = client.post("/v1/jobs", json={"method": job["method"], "image_ids": image_ids, "name": "a\0b"})
        assert pointers(problem(answer, "validation-error", 422)) == ["/name"]
        assert client.post(job["links"]["cancel"]).json()["state"] == "canceled"
        events = client.get(job["links"]["events"], headers={"Accept": "application/json"}).json()
        assert [event["type"] for event in events["items"]] == ["job.queued", "job.canceled"]
        repeated = [
            client.post("/v1/image-sets", json={"image_ids": image_ids}, headers={"Idempotency-Key": "k"})
            for _ in range(2)
        ]
        assert repeated[0].json() == repeated[1].json()


@pytest.mark.parametrize("setting", [{"port": 70_000}, {"max_image_bytes": 0}, {"log_level": "loud"}])
def test_settings_out_of_range_are_refused(make_settings: MakeSettings, setting: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        make_settings(**setting)
