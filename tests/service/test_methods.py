"""What the API says of its methods."""

import json
from collections.abc import Sequence
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient

from api_schemas.methods.registry import method_specs
from service.dependencies import Services
from storage.database.records import WorkerRecord, utc_now
from storage.database.repositories.coordination import WorkerRepository
from tests.service.requests import problem, uploaded_ids


def register_worker(services: Services, *backbones: str, weights: Sequence[str] = (), silent_s: float = 0) -> None:
    seen = utc_now() - timedelta(seconds=silent_s)
    worker = WorkerRecord(
        id="w",
        lanes=["default"],
        device="cpu",
        backbones=list(backbones),
        weights=list(weights),
        started_at=seen,
        seen_at=seen,
    )
    with services.database.transaction() as session:
        WorkerRepository(session).register(worker)


def test_all_methods_are_listed_with_what_workers_have(client: TestClient, services: Services) -> None:
    items = client.get("/v1/methods").json()["items"]
    assert [item["id"] for item in items] == list(method_specs())
    assert {item["ready"] for item in items} == {False}
    register_worker(services, "dino_vits8", "dense_descriptor", weights=["dino_vits8", "vgg16"])
    items = client.get("/v1/methods").json()["items"]
    assert {item["ready"] for item in items} == {True}
    assert items[0]["backbones"] == ["dense_descriptor", "dino_vits8"]
    register_worker(services, "dino_vits8", silent_s=3600)
    assert {item["ready"] for item in client.get("/v1/methods").json()["items"]} == {False}


@pytest.mark.parametrize("method", list(method_specs()))
def test_a_method_describes_its_parameters_and_gives_an_example_that_works(client: TestClient, method: str) -> None:
    spec = method_specs()[method]
    detail = client.get(f"/v1/methods/{method}").json()
    assert detail["params_schema"]["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert set(detail["params_schema"]["properties"]) == set(spec.params.model_fields)
    assert (detail["min_images"], detail["max_images"]) == (spec.min_images, spec.max_images)
    example = json.dumps(detail["example"])
    for named, uploaded in zip(detail["example"]["image_ids"], uploaded_ids(client, spec.min_images), strict=True):
        example = example.replace(named, uploaded)
    answer = client.post(detail["links"]["jobs"], json=json.loads(example))
    assert answer.status_code == 202, answer.text


def test_a_method_tells_which_backbones_lack_weights_and_how_large_these_are(
    client: TestClient, services: Services
) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8")
    known = {
        backbone["name"]: backbone for backbone in client.get("/v1/methods/nearest_neighbors").json()["known_backbones"]
    }
    assert {name for name, backbone in known.items() if backbone["ready"]} == {"dense_descriptor", "dino_vits8"}
    assert (known["dense_descriptor"]["weights"], known["dense_descriptor"]["weights_bytes"]) == ([], 0)
    joined = known["sd15+dinov2_vitb14"]
    assert joined["weights"] == ["sd15", "dinov2_vitb14"]
    assert joined["weights_bytes"] > 4e9
    assert joined["licenses"] == ["Apache-2.0", "CreativeML Open RAIL-M"]
    assert known["dino_vits8"]["features"]["stride"] == 4


def test_unknown_methods_are_not_found(client: TestClient) -> None:
    body = problem(client.get("/v1/methods/asics"), "not-found", 404)
    assert all(method in body["detail"] for method in method_specs())
