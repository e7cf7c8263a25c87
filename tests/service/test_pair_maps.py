"""Maps from frame to frame over HTTP, against maps known in closed form."""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from safetensors.numpy import load

from alignment.sampling import cell_centres
from alignment.storage_format import SAFETENSORS_MEDIA_TYPE
from service.dependencies import Services
from tests.alignment.builders import SIZES, TO_IMAGE, affine_atlas, affine_pairs, apply, invert
from tests.service.finished import finished_job
from tests.service.requests import problem, submit, uploaded_ids

Job = dict[str, Any]
STRANGER = "img_01k8zd6c2q4x7v9m3n5p8r0s1t"


@pytest.fixture
def atlas_job(client: TestClient, services: Services, tmp_path: Path) -> Job:
    return finished_job(client, services, tmp_path / "atlas", affine_atlas(64), "neural_congealing")


@pytest.fixture
def pairs_job(client: TestClient, services: Services, tmp_path: Path) -> Job:
    return finished_job(client, services, tmp_path / "pairs", affine_pairs(), "nearest_neighbors")


def name(job: Job, index: int | None) -> str:
    """The id of an image, or the atlas."""
    return "atlas" if index is None else str(job["inputs"]["images"][index]["id"])


def ask(client: TestClient, job: Job, source: int | None, target: int | None, **query: Any) -> Any:
    address = f"{job['links']['self']}/maps/{name(job, source)}/{name(job, target)}"
    return client.get(address, params=query)


def metadata(content: bytes) -> Any:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["congeal"])


@pytest.mark.parametrize(("source", "target"), [(0, 1), (2, 0), (None, 1), (1, None)])
def test_the_map_of_an_atlas_is_composed(
    client: TestClient, atlas_job: Job, source: int | None, target: int | None
) -> None:
    answer = ask(client, atlas_job, source, target)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == SAFETENSORS_MEDIA_TYPE
    tensors = load(answer.content)
    found, confidence = tensors["map"], tensors["confidence"]
    shape = (64, 64) if source is None else (SIZES[source].height // 2, SIZES[source].width // 2)
    extent = np.ones(2) if source is None else SIZES[source].extent
    assert (found.shape, found.dtype) == ((*shape, 2), np.float32)
    assert (confidence.shape, confidence.dtype) == (shape, np.float16)
    canonical = cell_centres(*shape, extent)
    if source is not None:
        canonical = apply(invert(TO_IMAGE[source]), canonical)
    expected = canonical if target is None else apply(TO_IMAGE[target], canonical)
    has_place = np.isfinite(found[..., 0])
    on_the_atlas = ((canonical > 0.02) & (canonical < 0.98)).all(axis=-1)
    assert has_place[on_the_atlas].all()
    assert found[has_place] == pytest.approx(expected[has_place], abs=0.02)
    assert (confidence[~has_place] == 0).all()
    about = metadata(answer.content)
    assert about["frame"] == ("canonical" if target is None else "image_pixels")
    assert (about["source"], about["target"]) == (name(atlas_job, source), name(atlas_job, target))


def test_pairwise_maps_come_back_as_they_are_stored(client: TestClient, pairs_job: Job) -> None:
    tensors = load(ask(client, pairs_job, 1, 2).content)
    assert np.array_equal(tensors["map"], affine_pairs().maps[1, 2])
    assert (tensors["confidence"] == 0.5).all()
    for source, target in ((None, 0), (0, None)):
        refused = problem(ask(client, pairs_job, source, target), "capability-missing", 409)
        assert "no atlas" in refused["detail"]


def test_the_grid_can_be_chosen(client: TestClient, atlas_job: Job, pairs_job: Job) -> None:
    for job in (atlas_job, pairs_job):
        found = load(ask(client, job, 1, 0, max_side=160).content)["map"]
        assert found.shape == (160, 100, 2)
        expected = apply(TO_IMAGE[0], apply(invert(TO_IMAGE[1]), np.array([25.25, 40.25])))
        assert found[80, 50] == pytest.approx(expected, abs=0.05)
        for wrong in (15, 1025, "x"):
            problem(ask(client, job, 1, 0, max_side=wrong), "validation-error", 422)


def test_the_same_question_has_the_same_bytes(client: TestClient, atlas_job: Job) -> None:
    first, second = ask(client, atlas_job, 0, 1), ask(client, atlas_job, 0, 1)
    assert first.content == second.content
    assert first.headers["etag"] == second.headers["etag"]
    address = f"{atlas_job['links']['self']}/maps/{name(atlas_job, 0)}/{name(atlas_job, 1)}"
    assert client.get(address, headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    assert ask(client, atlas_job, 0, 1, max_side=20).headers["etag"] != first.headers["etag"]


def test_a_frame_is_mapped_to_itself(client: TestClient, pairs_job: Job) -> None:
    tensors = load(ask(client, pairs_job, 0, 0).content)
    assert tensors["map"] == pytest.approx(cell_centres(24, 32, SIZES[0].extent), abs=1e-4)
    assert (tensors["confidence"] == 1).all()


def test_what_is_not_there_is_not_found(client: TestClient, atlas_job: Job) -> None:
    own = atlas_job["links"]["self"]
    for path in (f"{STRANGER}/{name(atlas_job, 0)}", f"atlas/{STRANGER}", "atlas/%00", f"{'x' * 900}/atlas"):
        refused = problem(client.get(f"{own}/maps/{path}"), "not-found", 404)
        assert "the job has no image" in refused["detail"]
    waiting = submit(client, uploaded_ids(client, 2))["links"]["self"]
    problem(client.get(f"{waiting}/maps/atlas/{STRANGER}"), "job-not-finished", 409)
    problem(client.get(f"/v1/jobs/job_01k8zd6c2q4x7v9m3n5p8r0s1t/maps/atlas/{STRANGER}"), "not-found", 404)
