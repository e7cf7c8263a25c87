"""Sets of images that do not fit: a picture twice, parameters that need more images, too much memory."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.app import create_app
from tests.service.conftest import MakeSettings
from tests.service.pictures import encoded, noise
from tests.service.requests import METHOD, pointers, problem, spec, submit, upload, uploaded_ids

GIBIBYTE = 2**30


def twins(client: TestClient) -> list[str]:
    """Upload one picture in two formats, which store it alike."""
    picture = noise(5)
    files = [("a.png", encoded(picture)), ("b.webp", encoded(picture, "WEBP", lossless=True))]
    items = upload(client, files).json()["items"]
    assert items[0]["sha256"] == items[1]["sha256"]
    assert items[0]["id"] != items[1]["id"]
    return [item["id"] for item in items]


def check_twins(body: dict[str, Any], pointer: str, *named: str) -> None:
    """Check that a problem points at the second of two and names both."""
    assert pointers(body) == [pointer]
    assert all(name in body["errors"][0]["detail"] for name in named)


def test_a_picture_stands_only_once_in_a_set(client: TestClient) -> None:
    first, second = twins(client)
    ids = [first, *uploaded_ids(client, 1), second]
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        body = problem(client.post(path, json=spec(ids)), "repeated-image", 422)
        check_twins(body, "/image_ids/2", first, second, "'a.png'", "'b.webp'")
    image_set = client.post("/v1/image-sets", json={"image_ids": ids}).json()
    body = problem(
        client.post("/v1/jobs", json={"method": METHOD, "image_set_id": image_set["id"]}), "repeated-image", 422
    )
    check_twins(body, "/image_set_id", first, second)


def test_a_picture_stands_only_once_in_a_request(client: TestClient) -> None:
    picture = noise(6)
    webp = encoded(picture, "WEBP", lossless=True)
    parts: list[tuple[str, Any]] = [("spec", (None, f'{{"method": "{METHOD}"}}', "application/json"))]
    parts += [("images", ("a.png", encoded(picture))), ("images", ("b.webp", webp))]
    body = problem(client.post("/v1/jobs", files=parts), "repeated-image", 422)
    check_twins(body, "/image_ids/1", "'a.png'", "'b.webp'")
    assert client.get("/v1/jobs").json()["items"] == []


def test_parameters_that_do_not_fit_so_many_images(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        answer = client.post(path, json=spec(image_ids, params={"reference_image": 2}))
        body = problem(answer, "invalid-params", 422)
        assert pointers(body) == ["/params/reference_image"]
        assert "no image 2 in a set of 2" in body["detail"]
    assert submit(client, image_ids, params={"reference_image": 1})["params"]["reference_image"] == 1


def test_a_job_that_needs_too_much_memory(make_settings: MakeSettings, plain_method: str) -> None:
    with TestClient(create_app(make_settings(max_job_bytes=10 * GIBIBYTE))) as client:
        image_ids = uploaded_ids(client, 4)
        for path in ("/v1/jobs", "/v1/jobs:validate"):
            body = problem(client.post(path, json=spec(image_ids, method=plain_method)), "too-much-memory", 413)
            assert pointers(body) == ["/image_ids"]
            for part in ("12 GiB", "4 images", "10 GiB", "fewer images", "working_size", "CONGEAL_MAX_JOB_BYTES"):
                assert part in body["detail"]
        assert submit(client, image_ids[:3], method=plain_method)["state"] == "queued"


def test_memory_is_looked_at_before_files_are_stored(make_settings: MakeSettings, plain_method: str) -> None:
    settings = make_settings(max_job_bytes=GIBIBYTE)
    with TestClient(create_app(settings)) as client:
        parts: list[tuple[str, Any]] = [("spec", (None, f'{{"method": "{plain_method}"}}', "application/json"))]
        answer = client.post("/v1/jobs", files=[*parts, ("images", ("a.png", encoded(noise(1))))])
        assert pointers(problem(answer, "too-much-memory", 413)) == ["/images"]
    assert not list(settings.blobs_dir.rglob("images/**/*"))


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs:validate"])
def test_the_description_names_what_a_submission_may_meet(client: TestClient, path: str) -> None:
    document = client.get("/openapi.json").json()
    answers = document["paths"][path]["post"]["responses"]
    told = " ".join(answer["description"] for answer in answers.values())
    masks = ("mask-size", "mask-empty", "masks-mismatch", "masks-not-taken")
    bases = ("base-not-found", "base-not-finished", "base-mismatch", "not-extendable")
    for code in (*masks, *bases, "repeated-image", "too-much-memory", "too-much-work", "image-shape"):
        assert f"`{code}`" in told
    form = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"spec", "images", "masks"}
    assert set(form["required"]) == {"spec", "images"}
