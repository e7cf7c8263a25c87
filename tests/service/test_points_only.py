"""Results of single points over HTTP: they answer what they were asked for, and refuse what needs a map."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.numpy import load

from alignment.forms import Form
from alignment.sampling import ImageSize
from service.dependencies import Services
from tests.alignment.builders import QUERIED, SIZES, TO_IMAGE, affine_pairs, apply, queried_points
from tests.alignment.test_edits import disc
from tests.service.finished import finished_job
from tests.service.pictures import encoded
from tests.service.requests import pointers, problem
from tests.service.test_edits import image_id, post

Job = dict[str, Any]
Finish = Callable[[Form], Job]


@pytest.fixture
def finish(client: TestClient, services: Services, tmp_path: Path) -> Finish:
    return lambda form: finished_job(client, services, tmp_path / "result", form, "nearest_neighbors")


@pytest.fixture
def job(finish: Finish) -> Job:
    return finish(queried_points())


def grid_form() -> Form:
    """Maps from the first image only."""
    whole = affine_pairs()
    kept = [(0, 1), (0, 2)]
    return replace(
        whole,
        maps={pair: whole.maps[pair] for pair in kept},
        confidence={pair: whole.confidence[pair] for pair in kept},
    )


def paint(index: int) -> bytes:
    """A layer with a disc in the middle of an image."""
    size = SIZES[index]
    return encoded(Image.fromarray(disc(size.extent / 2, 8.0, ImageSize(size.width, size.height))))


def keypoints(job: Job, *extra: tuple[float, float]) -> dict[str, list[list[float]]]:
    places = np.array([*QUERIED.tolist(), *extra])
    return {
        image_id(job, index): [[x, y, 1] for x, y in apply(matrix, places).tolist()]
        for index, matrix in enumerate(TO_IMAGE)
    }


def test_queried_points_are_carried_and_others_are_not(client: TestClient, job: Job) -> None:
    asked = apply(TO_IMAGE[0], np.array([*QUERIED.tolist(), [0.35, 0.6]])).tolist()
    answer = client.post(job["links"]["transfer"], json={"source": image_id(job, 0), "points": asked})
    assert answer.status_code == 200
    second, third = answer.json()["targets"]
    assert np.allclose(second["points"][:4], apply(TO_IMAGE[1], QUERIED), atol=1e-3)
    assert second["confidence"] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0])
    assert [point is None for point in third["points"]] == [False, False, False, True, True]
    assert third["inside"] == [True, True, True, False, False]


def test_scores_count_what_was_asked_for(client: TestClient, job: Job) -> None:
    body = {"keypoints": keypoints(job, (0.35, 0.6)), "threshold": "image", "cycles": [2, 3]}
    body["keypoint_schema"] = {"names": ["left eye", "right eye", "nose", "tail", "chin"]}
    body["azimuths"] = dict.fromkeys(body["keypoints"], 0)
    report = client.post(job["links"]["evaluations"], json=body)
    assert report.status_code == 200, report.text
    found = report.json()
    assert (found["pairs"], found["points"], found["missing"]) == (3, 12, 1)
    assert found["pck"][0]["per_point"] == pytest.approx(11 / 12)
    assert [(cycle["cycles"], cycle["points"]) for cycle in found["cycles"]] == [(2, 8), (0, 0)]
    assert found["cycles"][0]["pck"][0]["returned"] == 1
    assert found["geometry_aware"]["points"] == 6


def test_maps_are_refused_but_for_an_image_itself(client: TestClient, job: Job) -> None:
    for source, target in ((0, 1), (2, 0)):
        answer = client.get(f"{job['links']['self']}/maps/{image_id(job, source)}/{image_id(job, target)}")
        refused = problem(answer, "capability-missing", 409)
        assert "points only" in refused["detail"]
        assert "`grid`" in refused["detail"]
        assert [error["code"] for error in refused["errors"]] == ["points-only"]
    own = client.get(f"{job['links']['self']}/maps/{image_id(job, 0)}/{image_id(job, 0)}", params={"max_side": 16})
    assert np.isfinite(load(own.content)["map"]).all()


def test_edits_are_refused(client: TestClient, job: Job) -> None:
    for targets in (None, [image_id(job, 1)]):
        answer = post(client, job, paint(0), space="image", image=image_id(job, 0), targets=targets)
        refused = problem(answer, "capability-missing", 409)
        assert pointers(refused) == ["/spec/image"]
        assert f"from image {image_id(job, 1)} to image {image_id(job, 0)}" in refused["detail"]
    assert client.get(f"{job['links']['self']}/edits").json()["items"] == []


def test_a_grid_has_maps_from_its_image_and_takes_paint_of_the_others(client: TestClient, finish: Finish) -> None:
    job = finish(grid_form())
    answer = client.get(f"{job['links']['self']}/maps/{image_id(job, 0)}/{image_id(job, 1)}")
    assert np.isfinite(load(answer.content)["map"]).all()
    edit = post(client, job, paint(1), space="image", image=image_id(job, 1))
    assert edit.status_code == 201, edit.text
    assert [result["coverage"] > 0 for result in edit.json()["results"]] == [True, True, False]
