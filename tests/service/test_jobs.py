"""Look at jobs, wait for them, list and cancel them."""

import threading
import time

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from service.dependencies import Services
from storage.blobs.keys import checkpoint_key
from storage.database.repositories.jobs import JobRepository
from tests.service.conftest import MakeSettings
from tests.service.requests import METHOD, pointers, problem, spec, submit, uploaded_ids
from tests.service.results import claim, fail


@pytest.fixture
def image_ids(client: TestClient) -> list[str]:
    return uploaded_ids(client, 2)


def later(action: object, delay_s: float = 0.3) -> threading.Timer:
    timer = threading.Timer(delay_s, action)  # type: ignore[arg-type]
    timer.start()
    return timer


def test_a_running_job_shows_its_progress(client: TestClient, services: Services, image_ids: list[str]) -> None:
    job = submit(client, image_ids)
    record = claim(services)
    with services.database.transaction() as session:
        jobs = JobRepository(session)
        jobs.set_stage(record.id, record.fence, "features")
        jobs.set_progress(record.id, record.fence, 0.25, 5, 20, {"loss": 1.5})
    shown = client.get(job["links"]["self"]).json()
    assert (shown["state"], shown["stage"], shown["attempt"], shown["queue"]) == ("running", "features", 1, None)
    assert shown["progress"] == {"fraction": 0.25, "step": 5, "total": 20, "metrics": {"loss": 1.5}}
    assert shown["revision"] > job["revision"]


def test_a_failed_job_shows_why(client: TestClient, services: Services, image_ids: list[str]) -> None:
    job = submit(client, image_ids)
    fail(services, claim(services))
    answer = client.get(job["links"]["self"])
    assert answer.json()["state"] == "failed"
    assert answer.json()["error"]["code"] == "diverged"
    assert "retry-after" not in answer.headers


def test_an_unchanged_job_is_not_sent_again(client: TestClient, services: Services, image_ids: list[str]) -> None:
    address = submit(client, image_ids)["links"]["self"]
    etag = client.get(address).headers["etag"]
    same = client.get(address, headers={"If-None-Match": etag})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    claim(services)
    changed = client.get(address, headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag


def test_a_long_poll_ends_with_304_when_nothing_happens(client: TestClient, image_ids: list[str]) -> None:
    address = submit(client, image_ids)["links"]["self"]
    etag = client.get(address).headers["etag"]
    began = time.monotonic()
    answer = client.get(address, headers={"If-None-Match": etag, "Prefer": "respond-async, wait=1"})
    assert 1.0 <= time.monotonic() - began < 3.0
    assert answer.status_code == 304
    assert answer.headers["preference-applied"] == "wait=1"


def test_a_long_poll_ends_at_the_first_change(client: TestClient, services: Services, image_ids: list[str]) -> None:
    address = submit(client, image_ids)["links"]["self"]
    etag = client.get(address).headers["etag"]
    timer = later(lambda: claim(services))
    began = time.monotonic()
    answer = client.get(address, headers={"If-None-Match": etag, "Prefer": "wait=30"})
    assert time.monotonic() - began < 5
    assert (answer.status_code, answer.json()["state"]) == (200, "running")
    timer.join()


def test_without_etag_a_long_poll_waits_for_the_end(
    client: TestClient, services: Services, image_ids: list[str]
) -> None:
    address = submit(client, image_ids)["links"]["self"]
    record = claim(services)
    timer = later(lambda: fail(services, record))
    answer = client.get(address, headers={"Prefer": "wait=30"})
    assert answer.json()["state"] == "failed"
    timer.join()
    began = time.monotonic()
    assert client.get(address, headers={"Prefer": "wait=30"}).status_code == 200
    assert time.monotonic() - began < 2


def test_submission_may_wait_for_the_end(client: TestClient, services: Services, image_ids: list[str]) -> None:
    timer = later(lambda: fail(services, claim(services)), 0.5)
    answer = client.post("/v1/jobs", json=spec(image_ids), headers={"Prefer": "wait=30"})
    timer.join()
    assert (answer.status_code, answer.json()["state"]) == (200, "failed")
    assert answer.headers["preference-applied"] == "wait=30"
    assert answer.headers["location"] == answer.json()["links"]["self"]
    waiting = client.post("/v1/jobs", json=spec(image_ids), headers={"Prefer": "wait=0"})
    assert (waiting.status_code, waiting.json()["state"]) == (202, "queued")


def test_waits_are_capped(client: TestClient, services: Services, image_ids: list[str]) -> None:
    address = submit(client, image_ids)["links"]["self"]
    fail(services, claim(services))
    answer = client.get(address, headers={"Prefer": "wait=86400"})
    assert answer.headers["preference-applied"] == "wait=60"


def test_waiting_requests_leave_the_service_free(make_settings: MakeSettings) -> None:
    with TestClient(create_app(make_settings(poll_interval_s=0.25))) as client:
        address = submit(client, uploaded_ids(client, 2))["links"]["self"]
        # More than there are threads in the pool of the service.
        arguments = {"args": (address,), "kwargs": {"headers": {"Prefer": "wait=4"}}}
        waiting = [threading.Thread(target=client.get, **arguments) for _ in range(60)]  # type: ignore[arg-type]
        for thread in waiting:
            thread.start()
        time.sleep(0.3)
        assert client.get("/v1/methods").status_code == 200
        assert all(thread.is_alive() for thread in waiting)
        for thread in waiting:
            thread.join()


def test_jobs_are_listed_newest_first_in_pages(client: TestClient, image_ids: list[str]) -> None:
    made = [submit(client, image_ids)["id"] for _ in range(5)]
    seen: list[str] = []
    address: str | None = f"/v1/jobs?limit=2&method={METHOD}"
    while address:
        answer = client.get(address)
        assert answer.status_code == 200
        seen += [item["id"] for item in answer.json()["items"]]
        address = answer.links.get("next", {}).get("url")
    assert seen == made[::-1]


def test_a_list_is_filtered(client: TestClient, services: Services, image_ids: list[str]) -> None:
    first, second = submit(client, image_ids), submit(client, image_ids, method="nearest_neighbors")
    fail(services, claim(services))
    cases = {
        "state=failed": [first["id"]],
        "state=queued": [second["id"]],
        "method=nearest_neighbors": [second["id"]],
        f"image_set_id={first['inputs']['image_set_id']}": [first["id"]],
        "state=failed&method=nearest_neighbors": [],
    }
    for query, expected in cases.items():
        assert [item["id"] for item in client.get(f"/v1/jobs?{query}").json()["items"]] == expected


def test_cursors_belong_to_their_list(client: TestClient, image_ids: list[str]) -> None:
    for _ in range(2):
        submit(client, image_ids)
    cursor = client.get("/v1/jobs", params={"limit": 1}).json()["next_cursor"]
    for query in ({"cursor": cursor, "state": "queued"}, {"cursor": "x"}, {"cursor": "bnVsbA"}, {"cursor": "é"}):
        body = problem(client.get("/v1/jobs", params=query), "invalid-cursor", 400)
        assert "begin again" in body["detail"]


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "state=paused", "method=%00", "image_set_id=x"])
def test_queries_that_do_not_fit(client: TestClient, query: str) -> None:
    body = problem(client.get(f"/v1/jobs?{query}"), "validation-error", 422)
    assert pointers(body) == [query.split("=")[0]]


def test_a_queued_job_is_canceled_at_once(client: TestClient, image_ids: list[str]) -> None:
    job = submit(client, image_ids)
    answer = client.post(job["links"]["cancel"], json={"reason": "a mistake"})
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
    again = client.post(job["links"]["cancel"])
    assert (again.status_code, again.json()) == (200, answer.json())
    events = client.get(job["links"]["events"], headers={"Accept": "application/json"}).json()
    assert events["items"][-1]["data"] == {"reason": "a mistake"}


def test_a_running_job_is_asked_to_stop(client: TestClient, services: Services, image_ids: list[str]) -> None:
    job = submit(client, image_ids)
    record = claim(services)
    answer = client.post(job["links"]["cancel"])
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.json()["cancel_requested_at"] is not None
    with services.database.transaction() as session:
        assert JobRepository(session).confirm_cancel(record.id, record.fence)
    assert client.get(job["links"]["self"]).json()["state"] == "canceled"


def test_cancels_that_do_not_fit(client: TestClient, image_ids: list[str]) -> None:
    address = submit(client, image_ids)["links"]["cancel"]
    answer = client.post(address, json={"reason": "x" * 501})
    assert pointers(problem(answer, "validation-error", 422)) == ["/reason"]
    answer = client.post(address, content=b"stop", headers={"Content-Type": "text/plain"})
    problem(answer, "unsupported-media-type", 415)


def test_unknown_jobs_are_not_found(client: TestClient) -> None:
    for job_id in ("job_01k8zd6c2q4x7v9m3n5p8r0s1t", "x", "%00", "JOB_01K8ZD6C2Q4X7V9M3N5P8R0S1T"):
        address = f"/v1/jobs/{job_id}"
        for answer in (
            client.get(address),
            client.get(address, headers={"Prefer": "wait=5"}),
            client.get(f"{address}/events"),
            client.get(f"{address}/artifacts"),
            client.get(f"{address}/artifacts/x"),
            client.post(f"{address}/cancel"),
            client.post(f"{address}/transfer", json={"source": "atlas", "points": [[0, 0]]}),
        ):
            assert "GET /v1/jobs" in problem(answer, "not-found", 404)["detail"]


def test_canceling_a_job_that_lost_its_worker_removes_its_checkpoints(
    client: TestClient, services: Services, image_ids: list[str]
) -> None:
    job = submit(client, image_ids)
    record = claim(services)
    key = checkpoint_key(record.id, record.fence, 1)
    services.blobs.put(key, b"state")
    with services.database.transaction() as session:
        jobs = JobRepository(session)
        assert jobs.save_checkpoint(record.id, record.fence, key)
        assert jobs.release(record.id, record.fence, "the worker left")
    assert client.post(job["links"]["cancel"]).json()["state"] == "canceled"
    assert not services.blobs.exists(key)
