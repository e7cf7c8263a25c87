"""Masks with a submission: what is accepted, what is refused and how."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.dependencies import Services
from storage.database.repositories.jobs import JobRepository
from tests.service.pictures import disc, encoded, plain, png
from tests.service.requests import METHOD, pointers, problem, spec, submit, upload, uploaded_ids

STRANGER = "img_01k8zd6c2q4x7v9m3n5p8r0s1t"
PATHS = ("/v1/jobs", "/v1/jobs:validate")


def mask_id(client: TestClient, **options: Any) -> str:
    """Upload a mask with a disc."""
    found: str = upload(client, [("mask.png", encoded(disc(**options)))]).json()["items"][0]["id"]
    return found


def refused(client: TestClient, code: str, status: int = 422, **submission: Any) -> dict[str, Any]:
    """Check that a submission is refused alike with and without validation alone; return the problem."""
    bodies = [problem(client.post(path, json=submission), code, status) for path in PATHS]
    assert bodies[0]["errors"] == bodies[1]["errors"]
    assert client.get("/v1/jobs").json()["items"] == []
    return bodies[0]


def post_form(client: TestClient, images: list[bytes], masks: list[bytes], **options: Any) -> Any:
    """Submit in one request."""
    parts: list[tuple[str, Any]] = [("spec", (None, json.dumps({"method": METHOD, **options}), "application/json"))]
    parts += [("images", (f"{index}.png", content)) for index, content in enumerate(images)]
    parts += [("masks", (f"{index}_mask.png", content)) for index, content in enumerate(masks)]
    return client.post("/v1/jobs", files=parts)


def test_masks_are_kept_with_the_job_and_become_its_saliency(client: TestClient, services: Services) -> None:
    image_ids = uploaded_ids(client, 2)
    masks = {image_ids[1]: mask_id(client), image_ids[0]: mask_id(client, level=200)}
    job = submit(client, image_ids, masks=masks)
    assert job["params"]["saliency"] == "user"
    assert {image["id"]: image["mask_id"] for image in job["inputs"]["images"]} == masks
    assert [image["id"] for image in job["inputs"]["images"]] == image_ids
    assert client.get(job["links"]["self"]).json() == job
    with services.database.transaction(read_only=True) as session:
        stored = JobRepository(session).masks(job["id"])
    assert {image_id: record.id for image_id, record in stored.items()} == masks


@pytest.mark.parametrize("method", ["neural_congealing", "nearest_neighbors"])
def test_without_masks_the_whole_images_count(client: TestClient, method: str) -> None:
    job = submit(client, uploaded_ids(client, 2), method=method)
    assert job["params"]["saliency"] == "none"
    assert {image["mask_id"] for image in job["inputs"]["images"]} == {None}


def test_images_may_share_a_mask_and_come_as_a_set(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    image_set = client.post("/v1/image-sets", json={"image_ids": image_ids}).json()
    body = {"method": METHOD, "image_set_id": image_set["id"], "masks": dict.fromkeys(image_ids, mask_id(client))}
    assert client.post("/v1/jobs:validate", json=body).json()["params"]["saliency"] == "user"
    job = client.post("/v1/jobs", json=body).json()
    assert job["inputs"]["image_set_id"] == image_set["id"]


def test_masks_may_come_along_with_their_images(client: TestClient) -> None:
    answer = post_form(client, [png(1), png(2)], [encoded(disc()), encoded(disc(level=150))])
    assert answer.status_code == 202, answer.text
    images = answer.json()["inputs"]["images"]
    assert [image["name"] for image in images] == ["0.png", "1.png"]
    names = [client.get(f"/v1/images/{image['mask_id']}").json()["name"] for image in images]
    assert names == ["0_mask.png", "1_mask.png"]


def test_as_many_masks_as_images_in_one_request(client: TestClient, services: Services) -> None:
    body = problem(post_form(client, [png(1), png(2)], [encoded(disc())]), "masks-mismatch", 422)
    assert pointers(body) == ["/masks"]
    assert "2 images and 1 masks" in body["detail"]
    broken = post_form(client, [png(1), png(2)], [encoded(disc()), b"hello"])
    assert pointers(problem(broken, "not-an-image", 422)) == ["/masks/1"]
    assert not list(Path(services.settings.blobs_dir).rglob("images/**/*"))


def test_the_limits_hold_for_each_kind_of_file(client: TestClient) -> None:
    many = [encoded(disc(level=100 + level)) for level in range(5)]
    body = problem(post_form(client, [png(1), png(2)], many), "too-many-images", 413)
    assert pointers(body) == ["/masks/4"]
    large = problem(post_form(client, [png(1), png(2)], [png(9, (300, 300))]), "image-too-large", 413)
    assert pointers(large) == ["/masks/0"]


def test_a_mask_for_every_image_and_no_other(client: TestClient) -> None:
    one, two = uploaded_ids(client, 2)
    body = refused(client, "masks-mismatch", **spec([one, two], masks={one: mask_id(client), STRANGER: STRANGER}))
    assert pointers(body) == ["/masks", f"/masks/{STRANGER}"]
    assert [error["code"] for error in body["errors"]] == ["missing", "unknown-image"]
    assert two in body["errors"][0]["detail"]
    assert "'1.png'" in body["errors"][0]["detail"]


def test_masks_that_are_not_known(client: TestClient) -> None:
    one, two = uploaded_ids(client, 2)
    body = refused(client, "image-not-found", **spec([one, two], masks={one: mask_id(client), two: STRANGER}))
    assert pointers(body) == [f"/masks/{two}"]


def test_a_mask_has_the_size_of_its_image(client: TestClient) -> None:
    one, two = uploaded_ids(client, 2)
    masks = {one: mask_id(client), two: mask_id(client, size=(48, 64))}
    body = refused(client, "mask-size", **spec([one, two], masks=masks))
    assert pointers(body) == [f"/masks/{two}"]
    assert "is 48 x 64 pixels" in body["detail"]
    assert "64 x 48" in body["detail"]


@pytest.mark.parametrize(("level", "file_format"), [(0, "PNG"), (8, "PNG"), (4, "JPEG")])
def test_a_mask_marks_something(client: TestClient, level: int, file_format: str) -> None:
    one, two = uploaded_ids(client, 2)
    content = encoded(plain((level,) * 3), file_format)
    empty = upload(client, [("empty", content)]).json()["items"][0]["id"]
    body = refused(client, "mask-empty", **spec([one, two], masks={one: mask_id(client), two: empty}))
    assert pointers(body) == [f"/masks/{two}"]
    assert "white" in body["detail"]
    faint = {one: mask_id(client), two: mask_id(client, level=level + 32)}
    assert client.post("/v1/jobs", json=spec([one, two], masks=faint)).status_code == 202


def test_a_mask_is_no_image_of_the_set(client: TestClient) -> None:
    one, two = uploaded_ids(client, 2)
    body = refused(client, "masks-mismatch", **spec([one, two], masks={one: two, two: mask_id(client)}))
    assert pointers(body) == [f"/masks/{one}"]
    assert "itself an image" in body["detail"]


@pytest.mark.parametrize("saliency", ["none", "cosegmentation"])
def test_masks_that_nobody_would_look_at(client: TestClient, saliency: str) -> None:
    image_ids = uploaded_ids(client, 2)
    masks = dict.fromkeys(image_ids, mask_id(client))
    body = refused(client, "invalid-params", **spec(image_ids, masks=masks, params={"saliency": saliency}))
    assert pointers(body) == ["/params/saliency"]
    assert repr(saliency) in body["detail"]


def test_masks_that_are_wanted_and_not_there(client: TestClient) -> None:
    body = refused(client, "masks-mismatch", **spec(uploaded_ids(client, 2), params={"saliency": "user"}))
    assert pointers(body) == ["/masks"]
    assert "`masks`" in body["detail"]
    shot = post_form(client, [png(1), png(2)], [], params={"saliency": "user"})
    problem(shot, "masks-mismatch", 422)


def test_a_method_that_takes_no_masks(client: TestClient, plain_method: str) -> None:
    image_ids = uploaded_ids(client, 2)
    masks = dict.fromkeys(image_ids, mask_id(client))
    body = refused(client, "masks-not-taken", **spec(image_ids, method=plain_method, masks=masks))
    assert pointers(body) == ["/masks"]
    assert plain_method in body["detail"]


def test_the_same_key_with_other_masks_is_another_request(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    headers = {"Idempotency-Key": "k"}
    answers = [
        client.post("/v1/jobs", json=spec(image_ids, masks=dict.fromkeys(image_ids, mask)), headers=headers)
        for mask in (mask_id(client), mask_id(client), mask_id(client, level=90))
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 422]
    assert answers[0].json() == answers[1].json()
