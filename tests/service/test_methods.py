"""What the API says of its methods."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.methods.registry import method_specs
from api_schemas.weights import weights_catalogue
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
    register_worker(services, "dino_vits8", "dense_descriptor", weights=["dino_vits8", "vgg16", "sd14"])
    items = client.get("/v1/methods").json()["items"]
    assert {item["ready"] for item in items} == {True}
    assert items[0]["backbones"] == ["dense_descriptor", "dino_vits8"]
    assert items[0]["models"] == []
    register_worker(services, "dino_vits8", silent_s=3600)
    assert {item["ready"] for item in client.get("/v1/methods").json()["items"]} == {False}


def test_a_method_with_a_diffusion_model_is_ready_when_a_worker_has_one(client: TestClient, services: Services) -> None:
    def told() -> dict[str, Any]:
        items = client.get("/v1/methods").json()["items"]
        (item,) = [item for item in items if item["id"] == "sd_correspondence"]
        return {name: item[name] for name in ("ready", "backbones", "models")}

    assert told() == {"ready": False, "backbones": [], "models": []}
    register_worker(services, "embedded", "dino_vits8", weights=["dino_vits8"])
    assert told() == {"ready": False, "backbones": [], "models": []}
    register_worker(services, "embedded", weights=["sd21", "sd14", "vgg16"])
    assert told() == {"ready": True, "backbones": [], "models": ["sd14", "sd21"]}


def test_a_method_tells_which_diffusion_models_there_are(client: TestClient, services: Services) -> None:
    register_worker(services, "embedded", weights=["sd14"])
    detail = client.get("/v1/methods/sd_correspondence").json()
    assert detail["known_backbones"] == []
    assert [(model["name"], model["ready"]) for model in detail["known_models"]] == [
        ("sd15", False),
        ("sd14", True),
        ("sd21", False),
    ]
    assert detail["known_models"][1] == {
        "name": "sd14",
        "ready": True,
        "weights_bytes": weights_catalogue()["sd14"].bytes,
        "license": "CreativeML Open RAIL-M",
        "hub": "CompVis/stable-diffusion-v1-4",
    }
    assert client.get("/v1/methods/asic").json()["known_models"] == []


@pytest.mark.parametrize("method", list(method_specs()))
def test_a_method_describes_its_parameters_and_gives_an_example_that_works(
    client: TestClient, services: Services, method: str
) -> None:
    register_worker(services, "embedded", weights=["sd15", "mvdream"])
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
