"""Jobs that add images to a finished result: what is accepted, what is refused and how."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import update

from api_schemas.methods.registry import method_specs
from service.dependencies import Services
from storage.database.models import JobRow
from storage.database.repositories.jobs import JobRepository
from tests.alignment.builders import SIZES, affine_atlas, affine_pairs
from tests.service.pictures import disc, encoded, png
from tests.service.requests import METHOD, pointers, problem, spec, submit, upload, uploaded_ids
from tests.service.results import claim, fail, succeed
from tests.service.test_methods import register_worker

STRANGER = "job_01k8zd6c2q4x7v9m3n5p8r0s1t"
SPEC = method_specs()[METHOD]


def finish(client: TestClient, services: Services, folder: Path, **changed: Any) -> dict[str, Any]:
    """Submit a job on three images and let it succeed."""
    files = [(f"{index}.png", png(index, (size.width, size.height))) for index, size in enumerate(SIZES)]
    image_ids = [item["id"] for item in upload(client, files).json()["items"]]
    if changed.pop("masked", False):
        masks = [upload(client, [("m.png", encoded(disc((s.width, s.height))))]).json()["items"][0] for s in SIZES]
        changed["masks"] = {image: mask["id"] for image, mask in zip(image_ids, masks, strict=True)}
    job = submit(client, image_ids, **changed)
    succeed(services, affine_pairs() if changed.get("method") == "nearest_neighbors" else affine_atlas(), folder)
    return job


@pytest.fixture
def base(client: TestClient, services: Services, tmp_path: Path) -> dict[str, Any]:
    """A succeeded job on three images with some parameters of its own."""
    return finish(client, services, tmp_path, params={"flow_steps": 7, "network": {"batch": 3}})


def ids_of(job: dict[str, Any]) -> list[str]:
    """The images of a job."""
    return [image["id"] for image in job["inputs"]["images"]]


def refused(client: TestClient, code: str, status: int = 422, **submission: Any) -> dict[str, Any]:
    """Check that a submission is refused alike with and without validation alone; return the problem."""
    before = client.get("/v1/jobs").json()
    bodies = [problem(client.post(path, json=submission), code, status) for path in ("/v1/jobs", "/v1/jobs:validate")]
    assert bodies[0]["errors"] == bodies[1]["errors"]
    assert client.get("/v1/jobs").json() == before
    return bodies[0]


def test_methods_say_whether_they_can_extend(client: TestClient) -> None:
    told = {item["id"]: item["extendable"] for item in client.get("/v1/methods").json()["items"]}
    assert (told[METHOD], told["nearest_neighbors"]) == (True, False)


def test_new_images_follow_those_of_the_base(client: TestClient, services: Services, base: dict[str, Any]) -> None:
    new = uploaded_ids(client, 2, first_seed=10)
    body = spec(new, extends=base["id"], seed=4)
    told = client.post("/v1/jobs:validate", json=body).json()
    assert (told["images"], told["params"]) == (5, base["params"])
    job = client.post("/v1/jobs", json=body).json()
    assert ids_of(job) == [*ids_of(base), *new]
    assert [image["index"] for image in job["inputs"]["images"]] == list(range(5))
    assert job["inputs"]["extends"] == base["id"]
    assert job["inputs"]["image_set_id"] != base["inputs"]["image_set_id"]
    assert (job["params"], job["seed"]) == (base["params"], 4)
    with services.database.transaction(read_only=True) as session:
        record = JobRepository(session).get(job["id"])
    assert record is not None
    assert record.extends == base["id"]


def test_one_image_suffices_also_as_a_set_or_in_one_request(client: TestClient, base: dict[str, Any]) -> None:
    (new,) = uploaded_ids(client, 1, first_seed=10)
    image_set = client.post("/v1/image-sets", json={"image_ids": [new]}).json()
    answer = client.post("/v1/jobs", json={"method": METHOD, "image_set_id": image_set["id"], "extends": base["id"]})
    assert ids_of(answer.json()) == [*ids_of(base), new]
    options = json.dumps({"method": METHOD, "extends": base["id"]})
    parts = [("spec", (None, options, "application/json")), ("images", ("new.png", png(11)))]
    shot = client.post("/v1/jobs", files=parts)
    assert shot.status_code == 202, shot.text
    assert len(ids_of(shot.json())) == 4
    assert pointers(problem(client.post("/v1/jobs", files=parts[:1]), "too-few-images", 422)) == ["/images"]


def test_a_base_that_is_not_known(client: TestClient) -> None:
    body = refused(client, "base-not-found", **spec(uploaded_ids(client, 1), extends=STRANGER))
    assert pointers(body) == ["/extends"]
    assert STRANGER in body["detail"]
    malformed = refused(client, "validation-error", **spec(uploaded_ids(client, 1), extends="job_1"))
    assert pointers(malformed) == ["/extends"]


def test_a_base_without_a_result(client: TestClient, services: Services) -> None:
    job = submit(client, uploaded_ids(client, 2))
    new = uploaded_ids(client, 1, first_seed=10)
    waiting = refused(client, "base-not-finished", 409, **spec(new, extends=job["id"]))
    assert pointers(waiting) == ["/extends"]
    assert "queued" in waiting["detail"]
    assert "wait" in waiting["detail"]
    fail(services, claim(services))
    failed = refused(client, "base-not-finished", 409, **spec(new, extends=job["id"]))
    assert "failed" in failed["detail"]
    assert "all images" in failed["detail"]


def test_a_base_of_another_method(client: TestClient, services: Services, tmp_path: Path) -> None:
    other = finish(client, services, tmp_path, method="nearest_neighbors")
    new = uploaded_ids(client, 1, first_seed=10)
    body = refused(client, "base-mismatch", **spec(new, extends=other["id"]))
    assert pointers(body) == ["/method"]
    assert "'nearest_neighbors'" in body["detail"]
    same = refused(client, "not-extendable", **spec(new, extends=other["id"], method="nearest_neighbors"))
    assert pointers(same) == ["/method"]
    assert "nearest_neighbors" in same["detail"]


def test_a_base_of_another_version(client: TestClient, services: Services, base: dict[str, Any]) -> None:
    with services.database.transaction() as session:
        session.execute(update(JobRow).where(JobRow.id == base["id"]).values(method_version="0.0.1"))
    body = refused(client, "base-mismatch", **spec(uploaded_ids(client, 1, first_seed=10), extends=base["id"]))
    assert pointers(body) == ["/extends"]
    assert "version 0.0.1" in body["detail"]
    assert f"version {SPEC.version}" in body["detail"]


def test_parameters_that_are_those_of_the_base(client: TestClient, base: dict[str, Any]) -> None:
    new = uploaded_ids(client, 1, first_seed=10)
    same = {"flow_steps": 7, "network": {"batch": 3}, "backbone": "auto", "saliency": "auto", "features": {}}
    for params in (same, base["params"]):
        answer = client.post("/v1/jobs:validate", json=spec(new, extends=base["id"], params=params))
        assert answer.json()["params"] == base["params"], answer.text


@pytest.mark.parametrize(
    ("params", "pointer", "says"),
    [
        ({"flow_steps": 8}, "/params/flow_steps", "has 7, got 8"),
        ({"flow_steps": SPEC.params().model_dump()["flow_steps"]}, "/params/flow_steps", "has 7"),
        ({"network": {"batch": 2, "compat": False}}, "/params/network/batch", "has 3, got 2"),
        ({"backbone": "dino_vits8"}, "/params/backbone", "has 'embedded', got 'dino_vits8'"),
        ({"features": {"layer": 3}}, "/params/features/layer", "got 3"),
        ({"saliency": "user"}, "/params/saliency", "has 'none', got 'user'"),
    ],
)
def test_parameters_that_differ_from_the_base(
    client: TestClient, services: Services, base: dict[str, Any], params: dict[str, Any], pointer: str, says: str
) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8")
    new = uploaded_ids(client, 1, first_seed=10)
    body = refused(client, "base-mismatch", **spec(new, extends=base["id"], params=params))
    assert pointers(body) == [pointer]
    assert says in body["errors"][0]["detail"]
    assert base["id"] in body["detail"]


def test_auto_is_what_it_was_for_the_base(client: TestClient, services: Services, base: dict[str, Any]) -> None:
    register_worker(services, "dense_descriptor", "dinov2_vits14")
    job = submit(client, uploaded_ids(client, 1, first_seed=10), extends=base["id"], params={"backbone": "auto"})
    assert job["params"]["backbone"] == "embedded"


def test_the_backbone_of_the_base_is_still_needed(client: TestClient, services: Services, tmp_path: Path) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8")
    base = finish(client, services, tmp_path, params={"features": {"stride": 2}})
    new = uploaded_ids(client, 1, first_seed=10)
    explicit = {"backbone": "dino_vits8", "features": {"stride": 2, "layer": None}}
    job = submit(client, new, extends=base["id"], params=explicit)
    assert job["params"] == base["params"]
    register_worker(services, "dense_descriptor", "dino_vits8", silent_s=3600)
    body = refused(client, "weights-missing", 409, **spec(new, extends=base["id"]))
    assert "'dino_vits8'" in body["detail"]


def test_other_weights_that_the_base_took_are_still_needed(
    client: TestClient, services: Services, base: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SPEC.params, "extra_weights", lambda params: ("vgg16",) if params.network.batch == 3 else ())
    new = uploaded_ids(client, 1, first_seed=10)
    body = refused(client, "weights-missing", 409, **spec(new, extends=base["id"]))
    assert "'vgg16'" in body["detail"]
    register_worker(services, "embedded", weights=["vgg16"])
    assert submit(client, new, extends=base["id"])["params"] == base["params"]


def test_an_image_that_the_base_has_already(client: TestClient, base: dict[str, Any]) -> None:
    known = ids_of(base)[1]
    new = [*uploaded_ids(client, 1, first_seed=10), known]
    body = refused(client, "repeated-image", **spec(new, extends=base["id"]))
    assert pointers(body) == ["/image_ids/1"]
    assert known in body["detail"]
    assert "of the extended job" in body["detail"]


def test_base_and_new_images_together_are_counted(client: TestClient, base: dict[str, Any]) -> None:
    made_up = [f"img_{index:026d}" for index in range(SPEC.max_images - 2)]
    body = refused(client, "too-many-images", 413, **spec(made_up, extends=base["id"]))
    assert pointers(body) == ["/image_ids"]
    assert f"got {SPEC.max_images + 1} (3 of the extended job and {SPEC.max_images - 2} new)" in body["detail"]


def test_masks_of_the_new_images_alone(client: TestClient, services: Services, tmp_path: Path) -> None:
    base = finish(client, services, tmp_path, masked=True)
    (new,) = uploaded_ids(client, 1, first_seed=10)
    mask = upload(client, [("new.png", encoded(disc(level=99)))]).json()["items"][0]["id"]
    job = submit(client, [new], extends=base["id"], masks={new: mask})
    assert [image["mask_id"] for image in job["inputs"]["images"]] == [None, None, None, mask]
    without = submit(client, [new], extends=base["id"], params={"saliency": "user"})
    assert without["params"]["saliency"] == "user"
    old = ids_of(base)[0]
    body = refused(client, "masks-mismatch", **spec([new], extends=base["id"], masks={new: mask, old: mask}))
    assert pointers(body) == [f"/masks/{old}"]


def test_masks_for_a_base_that_used_none(client: TestClient, base: dict[str, Any]) -> None:
    (new,) = uploaded_ids(client, 1, first_seed=10)
    mask = upload(client, [("new.png", encoded(disc()))]).json()["items"][0]["id"]
    body = refused(client, "base-mismatch", **spec([new], extends=base["id"], masks={new: mask}))
    assert pointers(body) == ["/masks"]
    assert "without masks" in body["detail"]
