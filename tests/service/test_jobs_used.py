"""Jobs whose parameters name other jobs, and parameters that must fit the set: what is accepted, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from service.dependencies import Services
from storage.database.models import JobRow
from tests.alignment.builders import affine_pairs
from tests.service.finished import PICTURE_SIZES
from tests.service.pictures import png
from tests.service.requests import pointers, problem, spec, submit, upload, uploaded_ids
from tests.service.results import claim, fail, succeed
from tests.service.test_annotations import ADAPTER, GEO_AWARE, PATHS, STRANGER, faces, refused
from tests.service.test_methods import register_worker


def submit_adapter(client: TestClient, **params: Any) -> dict[str, Any]:
    """Submit a training on three pictures."""
    files = [(f"{index}.png", png(30 + index, size)) for index, size in enumerate(PICTURE_SIZES)]
    image_ids = [item["id"] for item in upload(client, files).json()["items"]]
    return submit(client, image_ids, method=ADAPTER, annotations=faces("0.png", "1.png", "2.png"), params=params)


def trained(client: TestClient, services: Services, folder: Path, **params: Any) -> dict[str, Any]:
    """Submit a training and let it succeed."""
    job = submit_adapter(client, **params)
    succeed(services, affine_pairs(), folder)
    return job


@pytest.fixture
def adapter(client: TestClient, services: Services, tmp_path: Path) -> dict[str, Any]:
    """A finished training on features other than those that `auto` takes."""
    return trained(client, services, tmp_path, backbone="dense_descriptor", training={"width": 64})


def refused_use(client: TestClient, code: str, status: int = 422, **params: Any) -> dict[str, Any]:
    """Check that parameters of `geo_aware` are refused; return the problem."""
    return refused(client, code, status, **spec(uploaded_ids(client, 2), method=GEO_AWARE, params=params))


def test_with_an_adapter_its_backbone_is_taken(client: TestClient, adapter: dict[str, Any]) -> None:
    image_ids = uploaded_ids(client, 2)
    assert submit(client, image_ids, method=GEO_AWARE)["params"]["backbone"] == "embedded"
    for params in ({}, {"backbone": "auto"}, {"backbone": "dense_descriptor"}):
        body = spec(image_ids, method=GEO_AWARE, params={"adapter": adapter["id"], **params})
        shown = client.post("/v1/jobs:validate", json=body).json()["params"]
        assert (shown["backbone"], shown["adapter"]) == ("dense_descriptor", adapter["id"])
        assert client.post("/v1/jobs", json=body).json()["params"] == shown


def test_an_adapter_serves_images_that_come_along(client: TestClient, adapter: dict[str, Any]) -> None:
    options = json.dumps({"method": GEO_AWARE, "params": {"adapter": adapter["id"]}})
    images = [("images", (f"{index}.png", png(index))) for index in range(2)]
    answer = client.post("/v1/jobs", files=[("spec", (None, options, "application/json")), *images])
    assert answer.status_code == 202, answer.text
    assert answer.json()["params"]["backbone"] == "dense_descriptor"


def test_an_adapter_of_another_backbone(client: TestClient, adapter: dict[str, Any]) -> None:
    body = refused_use(client, "invalid-params", adapter=adapter["id"], backbone="embedded")
    assert pointers(body) == ["/params/backbone"]
    assert adapter["id"] in body["detail"]
    assert "backbone 'dense_descriptor', not for 'embedded'" in body["detail"]


def test_an_adapter_of_other_features(client: TestClient, services: Services, tmp_path: Path) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8")
    features = {"stride": 2, "layer": 9}
    job = trained(client, services, tmp_path, backbone="dino_vits8", features=features)
    body = refused_use(client, "invalid-params", adapter=job["id"], features={"stride": 4})
    assert pointers(body) == ["/params/features/stride"]
    assert job["id"] in body["detail"]
    assert "stride 2, not 4" in body["detail"]
    taken = submit(client, uploaded_ids(client, 2), method=GEO_AWARE, params={"adapter": job["id"]})
    assert taken["params"]["features"] == job["params"]["features"]
    register_worker(services, "dense_descriptor", "dino_vits8", silent_s=3600)
    gone = refused_use(client, "weights-missing", 409, adapter=job["id"])
    assert pointers(gone) == ["/params/backbone"]
    assert "'dino_vits8'" in gone["detail"]


def test_an_adapter_that_is_not_known(client: TestClient) -> None:
    body = refused_use(client, "job-used-not-found", adapter=STRANGER)
    assert pointers(body) == ["/params/adapter"]
    assert STRANGER in body["detail"]
    malformed = refused_use(client, "invalid-params", adapter="job_1")
    assert pointers(malformed) == ["/params/adapter"]


def test_a_job_that_is_no_adapter(client: TestClient) -> None:
    other = submit(client, uploaded_ids(client, 2, first_seed=5), method=GEO_AWARE)
    body = refused_use(client, "invalid-params", adapter=other["id"])
    assert pointers(body) == ["/params/adapter"]
    assert other["id"] in body["detail"]
    assert "of method 'geo_aware'" in body["detail"]
    assert "'geo_aware_adapter'" in body["detail"]


def test_an_adapter_without_a_result(client: TestClient, services: Services) -> None:
    job = submit_adapter(client)
    waiting = refused_use(client, "job-used-not-finished", 409, adapter=job["id"])
    assert pointers(waiting) == ["/params/adapter"]
    assert "queued" in waiting["detail"]
    assert "wait" in waiting["detail"]
    running = claim(services)
    assert "running" in refused_use(client, "job-used-not-finished", 409, adapter=job["id"])["detail"]
    fail(services, running)
    failed = refused_use(client, "job-used-not-finished", 409, adapter=job["id"])
    assert "failed" in failed["detail"]
    assert "take another" in failed["detail"]


def test_an_adapter_of_another_version(client: TestClient, services: Services, adapter: dict[str, Any]) -> None:
    with services.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == adapter["id"]).values(method_version="0.0.1"))
    body = refused_use(client, "invalid-params", adapter=adapter["id"])
    assert pointers(body) == ["/params/adapter"]
    assert "version 0.0.1" in body["detail"]


def start_from(client: TestClient, job: dict[str, Any], **params: Any) -> dict[str, Any]:
    """The body of a training that goes on from another."""
    image_ids = uploaded_ids(client, 2)
    given = {"start": job["id"], **params}
    return spec(image_ids, method=ADAPTER, params=given, annotations=faces("0.png", "1.png"))


def test_a_training_goes_on_from_another(client: TestClient, adapter: dict[str, Any]) -> None:
    job = client.post("/v1/jobs", json=start_from(client, adapter, training={"width": 64})).json()
    assert (job["params"]["backbone"], job["params"]["start"]) == ("dense_descriptor", adapter["id"])


def test_a_training_cannot_go_on_from_an_adapter_of_another_size_or_backbone(
    client: TestClient, adapter: dict[str, Any]
) -> None:
    size = refused(client, "invalid-params", **start_from(client, adapter))
    assert pointers(size) == ["/params/training/width"]
    assert "width 64, not" in size["detail"]
    both = refused(client, "invalid-params", **start_from(client, adapter, backbone="embedded"))
    assert pointers(both) == ["/params/backbone", "/params/training/width"]
    assert all(adapter["id"] in error["detail"] for error in both["errors"])
    nowhere = start_from(client, {"id": STRANGER})
    assert pointers(refused(client, "job-used-not-found", **nowhere)) == ["/params/start"]


@pytest.mark.parametrize(
    ("pairs", "where", "says"),
    [
        ([[0, 1], [1, 2]], ["/params/pairs/1"], "pair [1, 2] names image 2; there are 0 to 1"),
        ([[1, 1], [0, 1]], ["/params/pairs/0"], "pair [1, 1] is an image with itself"),
        ([[0, 1], [1, 0], [0, 1]], ["/params/pairs/2"], "pair [0, 1] stands twice"),
        ([[0, 9], [0, 0]], ["/params/pairs/0", "/params/pairs/1"], "names image 9"),
        ([[0, -1]], ["/params/pairs/0/1"], "-1"),
        ([], ["/params/pairs"], "at least 1"),
    ],
)
def test_pairs_that_fit_no_set_of_two(client: TestClient, pairs: list[list[int]], where: list[str], says: str) -> None:
    body = refused_use(client, "invalid-params", pairs=pairs)
    assert pointers(body) == where
    assert says in body["detail"]


def test_pairs_that_fit(client: TestClient) -> None:
    pairs = [[1, 0], [0, 1]]
    job = submit(client, uploaded_ids(client, 2), method=GEO_AWARE, params={"pairs": pairs})
    assert job["params"]["pairs"] == pairs


@pytest.mark.parametrize(
    ("variants", "says"),
    [
        (["flip", "id"], "variants must begin with 'id'"),
        (["rot90"], "variants must begin with 'id'"),
        (["id", "flip", "flip"], "variants must differ"),
        (["id", "flop"], "'flop'"),
        ([], "at least 1"),
    ],
)
def test_variants_that_make_no_choice(client: TestClient, variants: list[str], says: str) -> None:
    body = refused_use(client, "invalid-params", variants=variants)
    assert says in body["detail"]
    assert all(pointer.startswith("/params") for pointer in pointers(body))


def test_the_same_fault_is_found_before_images_are_stored(client: TestClient) -> None:
    options = json.dumps({"method": GEO_AWARE, "params": {"adapter": STRANGER}})
    images = [("images", (f"{index}.png", png(index))) for index in range(2)]
    answer = client.post(PATHS[0], files=[("spec", (None, options, "application/json")), *images])
    assert pointers(problem(answer, "job-used-not-found", 422)) == ["/params/adapter"]
    assert upload(client, [("0.png", png(0))]).status_code == 201
