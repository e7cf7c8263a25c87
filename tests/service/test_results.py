"""Results over HTTP: the manifest, artifacts, and questions, against maps known in closed form."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from alignment.forms import Form
from alignment.storage_format import SAFETENSORS_MEDIA_TYPE
from api_schemas.manifest import Manifest
from service.dependencies import Services
from tests.alignment.builders import SIZES, TO_IMAGE, affine_atlas, affine_pairs, apply, invert
from tests.service.pictures import png
from tests.service.requests import pointers, problem, submit, upload, uploaded_ids
from tests.service.results import PICTURE, claim, fail, succeed

STRANGER = "img_01k8zd6c2q4x7v9m3n5p8r0s1t"


class Finished:
    """A succeeded job with maps of images of the sizes that they were made for."""

    def __init__(self, client: TestClient, services: Services, folder: Path, form: Form, method: str) -> None:
        files = [(f"{index}.png", png(index, (size.width, size.height))) for index, size in enumerate(SIZES)]
        self.client = client
        self.image_ids = [item["id"] for item in upload(client, files).json()["items"]]
        self.job = submit(client, self.image_ids, method=method)
        self.manifest = succeed(services, form, folder)

    def transfer(self, **body: Any) -> Any:
        """Ask where points lie."""
        return self.client.post(self.job["links"]["transfer"], json=body)


@pytest.fixture
def atlas(client: TestClient, services: Services, tmp_path: Path) -> Finished:
    return Finished(client, services, tmp_path / "atlas", affine_atlas(), "neural_congealing")


@pytest.fixture
def pairs(client: TestClient, services: Services, tmp_path: Path) -> Finished:
    return Finished(client, services, tmp_path / "pairs", affine_pairs(), "nearest_neighbors")


def test_a_succeeded_job_shows_its_self_check(atlas: Finished) -> None:
    shown = atlas.client.get(atlas.job["links"]["self"]).json()
    assert (shown["state"], shown["self_check"]) == ("succeeded", {"coverage": 1.0})


def test_the_manifest_lists_every_artifact_with_its_address(atlas: Finished) -> None:
    answer = atlas.client.get(atlas.job["links"]["artifacts"])
    assert answer.status_code == 200
    manifest = Manifest.model_validate(answer.json())
    assert answer.json()["schema"] == "congeal/manifest/1"
    assert [image.id for image in manifest.images] == atlas.image_ids
    assert len(manifest.artifacts) == 2 * len(SIZES) + 1
    for artifact in manifest.artifacts:
        content = atlas.client.get(artifact.href or "").content
        assert len(content) == artifact.bytes
        assert hashlib.sha256(content).hexdigest() == artifact.sha256
    again = atlas.client.get(atlas.job["links"]["artifacts"], headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_artifacts_are_served_in_parts_and_safely(atlas: Finished) -> None:
    address = f"{atlas.job['links']['artifacts']}/maps/to_canonical/000.safetensors"
    whole = atlas.client.get(address)
    assert whole.headers["content-type"] == SAFETENSORS_MEDIA_TYPE
    assert whole.headers["content-disposition"].startswith("attachment;")
    assert "sandbox" in whole.headers["content-security-policy"]
    part = atlas.client.get(address, headers={"Range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, whole.content[8:16])
    assert atlas.client.get(address, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert atlas.client.head(address).headers["content-length"] == str(len(whole.content))
    problem(atlas.client.get(address, headers={"Range": "bytes=9999999-"}), "range-not-satisfiable", 416)


def test_pictures_are_shown_unless_a_download_is_asked_for(atlas: Finished) -> None:
    address = f"{atlas.job['links']['artifacts']}/{PICTURE}"
    assert atlas.client.get(address).headers["content-disposition"].startswith("inline;")
    download = atlas.client.get(address, params={"download": "1"})
    assert download.headers["content-disposition"] == 'attachment; filename="pictures_atlas.png"'


@pytest.mark.parametrize(
    "name", ["nothing.png", "manifest.json", "../manifest.json", "..%2f..%2fcongeal.db", "%00", "x" * 500, "a//b"]
)
def test_unknown_artifacts_are_not_found(atlas: Finished, name: str) -> None:
    answer = atlas.client.get(f"{atlas.job['links']['artifacts']}/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not-found"


def test_a_result_cannot_be_had_before_the_job_has_ended(client: TestClient, services: Services) -> None:
    links = submit(client, uploaded_ids(client, 2))["links"]
    body = {"source": "atlas", "points": [[0.5, 0.5]]}
    for state in ("queued", "running"):
        for answer in (
            client.get(links["artifacts"]),
            client.get(f"{links['artifacts']}/{PICTURE}"),
            client.post(links["transfer"], json=body),
        ):
            refused = problem(answer, "job-not-finished", 409)
            assert f"the job is {state}" in refused["detail"]
            assert "Prefer: wait" in refused["detail"]
            assert int(answer.headers["retry-after"]) == refused["retry_after_s"] > 0
        if state == "queued":
            record = claim(services)
    fail(services, record)
    refused = problem(client.get(links["artifacts"]), "result-unavailable", 409)
    assert "diverged" in refused["detail"]
    canceled = submit(client, uploaded_ids(client, 2))["links"]
    client.post(canceled["cancel"])
    assert "was canceled" in problem(client.get(canceled["artifacts"]), "result-unavailable", 409)["detail"]


def test_points_are_carried_to_all_other_images(atlas: Finished, pairs: Finished) -> None:
    centre = apply(TO_IMAGE[0], np.array([[0.5, 0.5], [0.4, 0.6]]))
    for finished in (atlas, pairs):
        answer = finished.transfer(source=finished.image_ids[0], points=centre.tolist())
        assert answer.status_code == 200
        body = answer.json()
        assert body["coords"] == "pixel"
        assert [target["target"] for target in body["targets"]] == finished.image_ids[1:]
        for target, matrix in zip(body["targets"], TO_IMAGE[1:], strict=True):
            expected = apply(matrix, apply(invert(TO_IMAGE[0]), centre))
            assert np.allclose(target["points"], expected, atol=0.02)
            assert target["inside"] == [True, True]
            assert min(target["confidence"]) > 0.4


def test_normalized_coordinates_are_shares_of_the_sides(atlas: Finished) -> None:
    point = apply(TO_IMAGE[0], np.array([[0.5, 0.5]]))
    share = (point / SIZES[0].extent).tolist()
    answer = atlas.transfer(source=atlas.image_ids[0], points=share, targets=[atlas.image_ids[2]], coords="normalized")
    [target] = answer.json()["targets"]
    expected = apply(TO_IMAGE[2], np.array([[0.5, 0.5]])) / SIZES[2].extent
    assert np.allclose(target["points"], expected, atol=1e-3)


def test_the_atlas_is_a_source_and_a_target(atlas: Finished) -> None:
    down = atlas.transfer(source="atlas", points=[[0.5, 0.5]]).json()["targets"]
    assert [target["target"] for target in down] == atlas.image_ids
    assert np.allclose(down[1]["points"], apply(TO_IMAGE[1], np.array([[0.5, 0.5]])), atol=0.02)
    up = atlas.transfer(source=atlas.image_ids[1], points=down[1]["points"], targets=["atlas"]).json()["targets"]
    assert np.allclose(up[0]["points"], [[0.5, 0.5]], atol=1e-3)


def test_points_without_correspondence_are_null(atlas: Finished) -> None:
    answer = atlas.transfer(source=atlas.image_ids[0], points=[[-50, -50], [30, 27]])
    for target in answer.json()["targets"]:
        assert target["points"][0] is None
        assert (target["confidence"][0], target["inside"][0]) == (0, False)
        assert target["points"][1] is not None


def test_pairwise_maps_have_no_atlas(pairs: Finished) -> None:
    for body, pointer in (
        ({"source": "atlas", "points": [[0, 0]]}, "/source"),
        ({"source": pairs.image_ids[0], "points": [[0, 0]], "targets": [pairs.image_ids[1], "atlas"]}, "/targets/1"),
    ):
        refused = problem(pairs.transfer(**body), "capability-missing", 409)
        assert pointers(refused) == [pointer]
        assert "nearest_neighbors" in refused["detail"]
        assert "name an image" in refused["detail"]


def test_images_of_other_jobs_are_refused(atlas: Finished) -> None:
    refused = problem(atlas.transfer(source=STRANGER, points=[[0, 0]]), "image-not-found", 422)
    assert pointers(refused) == ["/source"]
    answer = atlas.transfer(source=atlas.image_ids[0], points=[[0, 0]], targets=[atlas.image_ids[1], STRANGER])
    assert pointers(problem(answer, "image-not-found", 422)) == ["/targets/1"]


def test_an_answer_has_a_size_limit(atlas: Finished) -> None:
    points = [[1.0, 1.0]] * 501
    refused = problem(atlas.transfer(source=atlas.image_ids[0], points=points), "validation-error", 422)
    assert pointers(refused) == ["/points"]
    assert "1002, the limit is 1000" in refused["detail"]
    assert atlas.transfer(source=atlas.image_ids[0], points=points[:500]).status_code == 200


@pytest.mark.parametrize(
    ("changed", "pointer"),
    [
        ({"points": []}, "/points"),
        ({"points": [[1, 2], [1]]}, "/points/1/1"),
        ({"points": [["a", 2]]}, "/points/0/0"),
        ({"coords": "inches"}, "/coords"),
        ({"source": "image"}, "/source"),
        ({"targets": ["image"]}, "/targets/0"),
        ({"extra": 1}, "/extra"),
    ],
)
def test_questions_that_do_not_fit(atlas: Finished, changed: dict[str, Any], pointer: str) -> None:
    answer = atlas.transfer(**{"source": atlas.image_ids[0], "points": [[1, 1]], **changed})
    assert pointers(problem(answer, "validation-error", 422)) == [pointer]


def test_points_must_be_finite(atlas: Finished) -> None:
    content = f'{{"source": "{atlas.image_ids[0]}", "points": [[NaN, 1]]}}'
    headers = {"Content-Type": "application/json"}
    answer = atlas.client.post(atlas.job["links"]["transfer"], content=content, headers=headers)
    assert pointers(problem(answer, "validation-error", 422)) == ["/points/0/0"]


def test_only_so_many_results_stay_open(
    client: TestClient, services: Services, tmp_path: Path, atlas: Finished
) -> None:
    capacity = services.settings.max_open_results
    others = [
        Finished(client, services, tmp_path / str(index), affine_pairs(), "nearest_neighbors")
        for index in range(capacity)
    ]
    for finished in (atlas, *others, atlas):
        answer = finished.transfer(source=finished.image_ids[0], points=[[30, 27]])
        assert answer.status_code == 200
        assert answer.json()["targets"][0]["points"][0] is not None
    assert len(services.open_results) == capacity
