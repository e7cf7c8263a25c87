"""A submission that is sent again makes no second job."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.dependencies import Services
from storage.database.records import utc_now
from storage.database.repositories.coordination import IdempotencyRepository
from tests.service.pictures import png
from tests.service.requests import METHOD, pointers, problem, spec, uploaded_ids

KEY = {"Idempotency-Key": "k-1"}


def count_jobs(client: TestClient) -> int:
    return len(client.get("/v1/jobs").json()["items"])


def test_a_repetition_answers_as_the_first_time(client: TestClient) -> None:
    body = spec(uploaded_ids(client, 2))
    first = client.post("/v1/jobs", json=body, headers=KEY)
    client.post(first.json()["links"]["cancel"])
    again = client.post("/v1/jobs", json=body, headers=KEY)
    assert (again.status_code, again.json()) == (202, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in first.headers
    assert count_jobs(client) == 1
    waited = client.post("/v1/jobs", json=body, headers={**KEY, "Prefer": "wait=5"})
    assert (waited.status_code, waited.json()["state"]) == (200, "canceled")


def test_the_order_of_fields_does_not_matter(client: TestClient) -> None:
    body = spec(uploaded_ids(client, 2), params={"flow_steps": 1, "atlas_size": 64})
    turned = {**dict(reversed(body.items())), "params": {"atlas_size": 64, "flow_steps": 1}}
    first = client.post("/v1/jobs", json=body, headers=KEY)
    assert client.post("/v1/jobs", json=turned, headers=KEY).json()["id"] == first.json()["id"]


def test_one_shot_submissions_are_compared_by_content(client: TestClient) -> None:
    def send(*seeds: int) -> Any:
        files = [("images", (f"{seed}.png", png(seed))) for seed in seeds]
        spec_part = ("spec", (None, f'{{"method": "{METHOD}"}}', "application/json"))
        return client.post("/v1/jobs", files=[spec_part, *files], headers=KEY)

    first, again = send(1, 2), send(1, 2)
    assert again.json() == first.json()
    problem(send(1, 3), "idempotency-key-reused", 422)


def test_parallel_repetitions_make_one_job(client: TestClient) -> None:
    body = spec(uploaded_ids(client, 2))
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: client.post("/v1/jobs", json=body, headers=KEY), range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    assert count_jobs(client) == 1


def test_a_key_belongs_to_one_request(client: TestClient) -> None:
    body = spec(uploaded_ids(client, 2))
    client.post("/v1/jobs", json=body, headers=KEY)
    refused = problem(client.post("/v1/jobs", json={**body, "seed": 1}, headers=KEY), "idempotency-key-reused", 422)
    assert "'k-1'" in refused["detail"]
    assert "fresh one" in refused["detail"]
    assert count_jobs(client) == 1


def test_a_refused_request_does_not_use_up_its_key(client: TestClient) -> None:
    body = spec(uploaded_ids(client, 2))
    problem(client.post("/v1/jobs", json={**body, "method": "x"}, headers=KEY), "unknown-method", 422)
    assert client.post("/v1/jobs", json=body, headers=KEY).status_code == 202


def test_keys_of_different_addresses_do_not_meet(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    assert client.post("/v1/image-sets", json={"image_ids": image_ids}, headers=KEY).status_code == 201
    assert client.post("/v1/jobs", json=spec(image_ids), headers=KEY).status_code == 202


def test_a_first_request_still_at_work_is_told(client: TestClient, services: Services) -> None:
    body = spec(uploaded_ids(client, 2))
    client.post("/v1/jobs", json=body, headers=KEY)
    with services.database.transaction() as session:
        unanswered = "UPDATE idempotency_keys SET status = NULL"
        session.connection().exec_driver_sql(unanswered)
    answer = client.post("/v1/jobs", json=body, headers=KEY)
    refused = problem(answer, "idempotency-in-progress", 409)
    assert answer.headers["retry-after"] == "1"
    assert refused["retry_after_s"] == 1.0


def test_keys_are_kept_for_a_day(client: TestClient, services: Services) -> None:
    body = spec(uploaded_ids(client, 2))
    first = client.post("/v1/jobs", json=body, headers=KEY)
    with services.database.transaction() as session:
        IdempotencyRepository(session, lambda: utc_now() + timedelta(hours=25)).delete_expired()
    assert client.post("/v1/jobs", json=body, headers=KEY).json()["id"] != first.json()["id"]


@pytest.mark.parametrize("key", ["", "x" * 201, "a b"])
def test_keys_that_do_not_fit(client: TestClient, key: str) -> None:
    answer = client.post("/v1/jobs", json=spec(uploaded_ids(client, 2)), headers={"Idempotency-Key": key})
    assert pointers(problem(answer, "validation-error", 422)) == ["Idempotency-Key"]
