"""Questions in space over HTTP, against a ball whose every place is known in closed form."""

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from safetensors.numpy import load

from alignment.camera import OPENGL_TO_OPENCV
from alignment.sampling import ImageSize
from alignment.shape import Shape
from tests.alignment.builders import affine_atlas
from tests.alignment.shapes import ball, hits, on_ball, on_texture, shown
from tests.service.finished import finished_job
from tests.service.pictures import encoded, plain
from tests.service.requests import pointers, problem, submit, upload
from tests.service.results import succeed
from tests.service.shared import services_of, small_app

Job = dict[str, Any]
SMALL = ImageSize(160, 120)
STRANGER = "img_01k8zd6c2q4x7v9m3n5p8r0s1t"
PIXELS = [[80.0, 60.0], [100.5, 45.25], [3.0, 3.0]]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[TestClient]:
    """A client of one API for all tests here, which change nothing."""
    with TestClient(small_app(tmp_path_factory.mktemp("data"), sqlite_template)) as opened:
        yield opened


@pytest.fixture(scope="module")
def shape() -> Shape:
    found = ball()
    return replace(found, images=(SMALL,) * len(found.images))


@pytest.fixture(scope="module")
def job(client: TestClient, tmp_path_factory: pytest.TempPathFactory, shape: Shape) -> Job:
    files = [(f"{colour}.png", encoded(plain(colour, (160, 120)))) for colour in ("teal", "olive", "silver")]
    image_ids = [item["id"] for item in upload(client, files).json()["items"]]
    made = submit(client, image_ids, method="nearest_neighbors")
    succeed(services_of(client), shape, tmp_path_factory.mktemp("shape"))
    return made


def ids(job: Job) -> list[str]:
    return [image["id"] for image in job["inputs"]["images"]]


def ask(client: TestClient, job: Job, link: str, **body: Any) -> Any:
    return client.post(job["links"][link], json=body)


def answered(client: TestClient, job: Job, link: str, **body: Any) -> dict[str, Any]:
    answer = ask(client, job, link, **body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_points_are_lifted_to_the_shape(client: TestClient, job: Job, shape: Shape) -> None:
    assert shape.cameras[0] is not None
    expected = hits(shape.cameras[0], np.array(PIXELS), SMALL)
    assert np.isnan(expected[2]).all()
    found = answered(client, job, "lift", image=ids(job)[0], points=PIXELS)
    assert np.allclose(found["points"][:2], expected[:2], atol=0.005)
    assert (found["points"][2], found["confidence"]) == (None, [0.75, 0.75, 0.0])
    relative = (np.array(PIXELS) / (160, 120)).tolist()
    assert answered(client, job, "lift", image=ids(job)[0], points=relative, coords="normalized") == found
    texture = answered(client, job, "lift", image="atlas", points=[[0.3, 0.4], [0.5, 0.02]])
    assert np.allclose(texture["points"][0], on_ball(np.array([0.3, 0.4])), atol=0.005)
    assert texture["points"][1] is None


def test_places_are_found_in_all_images_that_show_them(client: TestClient, job: Job, shape: Shape) -> None:
    places = on_ball(np.array([[0.02, 0.45], [0.9, 0.5], [0.5, 0.6]]))
    found = answered(client, job, "project", points=places.tolist())
    assert [target["target"] for target in found["targets"]] == ids(job)
    for target, camera in zip(found["targets"], shape.cameras, strict=True):
        assert camera is not None
        visible = shown(camera, places)
        assert target["visible"] == visible.tolist()
        assert [confidence > 0.5 for confidence in target["confidence"]] == visible.tolist()
        assert np.allclose(target["points"], camera.project(places, SMALL)[0], atol=0.6)
        assert target["inside"] == [True] * 3
    there = answered(client, job, "project", points=places[:1].tolist(), targets=["atlas"], coords="normalized")
    assert np.allclose(there["targets"][0]["points"], on_texture(places[:1]), atol=0.01)


def test_a_place_outside_an_image_is_told_as_such(client: TestClient, job: Job) -> None:
    found = answered(client, job, "project", points=[[0, 3, 0], [50, 0, 0]], targets=[ids(job)[0]])["targets"][0]
    assert (found["visible"], found["inside"]) == ([False, False], [False, False])
    # The second lies behind the camera, which cannot tell where it is.
    assert found["points"][0] is not None
    assert found["points"][1] is None


def test_the_atlas_of_a_shape_is_its_texture(client: TestClient, job: Job, shape: Shape) -> None:
    assert shape.cameras[1] is not None
    found = answered(client, job, "transfer", source=ids(job)[1], points=PIXELS[:2], targets=["atlas", ids(job)[0]])
    expected = on_texture(hits(shape.cameras[1], np.array(PIXELS[:2]), SMALL))
    assert np.allclose(found["targets"][0]["points"], expected, atol=0.01)
    back = answered(client, job, "transfer", source="atlas", points=expected.tolist(), targets=[ids(job)[1]])
    assert np.allclose(back["targets"][0]["points"], PIXELS[:2], atol=1.0)
    tensors = load(client.get(f"{job['links']['self']}/maps/{ids(job)[1]}/atlas?max_side=16").content)
    assert tensors["map"].shape == (12, 16, 2)
    assert 0.2 < np.isfinite(tensors["map"]).mean() < 0.8


def test_keypoints_score_a_shape(client: TestClient, job: Job, shape: Shape) -> None:
    places = on_ball(np.array([[0.03, 0.45], [0.97, 0.5]]))
    keypoints = {}
    for name, camera in list(zip(ids(job), shape.cameras, strict=True))[:2]:
        assert camera is not None
        keypoints[name] = [[*pixel, 1] for pixel in camera.project(places, SMALL)[0].tolist()]
    found = answered(client, job, "evaluations", keypoints=keypoints, threshold="image", alphas=[0.02])
    assert (found["pairs"], found["missing"], found["pck"][0]["per_point"]) == (2, 0, 1.0)


def test_what_is_painted_on_the_texture_lies_on_the_images(client: TestClient, job: Job) -> None:
    painted = Image.new("RGBA", (64, 64), (255, 0, 0, 255))
    stream = io.BytesIO()
    painted.save(stream, "PNG")
    parts = {"spec": (None, json.dumps({"space": "atlas"}), "application/json"), "layer": ("l.png", stream.getvalue())}
    answer = client.post(job["links"]["edits"], files=parts)
    assert answer.status_code == 201, answer.text
    results = answer.json()["results"]
    assert [0.2 < result["coverage"] < 0.8 for result in results] == [True] * 3
    layer = np.asarray(Image.open(io.BytesIO(client.get(results[0]["layer"]["href"]).content)))
    assert layer[60, 80].tolist() == [255, 0, 0, 255]
    assert layer[2, 2, 3] == 0


def known_cameras(job: Job, shape: Shape) -> dict[str, Any]:
    """The ball's own cameras in another frame: turned, moved and twice as large."""
    turn = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], dtype=float)
    cameras = {}
    for name, camera in zip(ids(job), shape.cameras, strict=True):
        assert camera is not None
        matrix = np.eye(4)
        matrix[:3, :3] = turn @ camera.to_world[:3, :3]
        matrix[:3, 3] = 2 * turn @ camera.to_world[:3, 3] + (1, 2, 3)
        cameras[name] = {"camera_to_world": matrix.tolist(), "fov_deg": 40}
    return cameras


@pytest.mark.parametrize("alignment", ["rotation", "barf"])
def test_poses_are_right_in_whatever_frame_they_are_known(
    client: TestClient, job: Job, shape: Shape, alignment: str
) -> None:
    cameras = known_cameras(job, shape)
    found = answered(client, job, "pose_evaluations", cameras=cameras, alignment=alignment)
    assert (found["alignment"], found["images"], found["missing"]) == (alignment, 3, 0)
    assert max(found["mean_rotation_deg"], found["median_rotation_deg"], found["mean_translation"]) < 1e-3
    assert [(row["within_deg"], row["share"]) for row in found["accuracy"]] == [(10, 1), (15, 1), (30, 1)]
    assert [row["image"] for row in found["errors"]] == ids(job)
    assert found["to_known"]["scale"] == pytest.approx(2)
    assert found["to_known"]["translation"] == pytest.approx([1, 2, 3], abs=1e-3)


def test_cameras_may_come_the_other_way_round(client: TestClient, job: Job, shape: Shape) -> None:
    cameras = known_cameras(job, shape)
    matrix = np.linalg.inv(np.array(cameras[ids(job)[1]]["camera_to_world"]) @ OPENGL_TO_OPENCV)
    cameras[ids(job)[1]] = {"world_to_camera": matrix.tolist()}
    assert answered(client, job, "pose_evaluations", cameras=cameras)["mean_rotation_deg"] < 1e-3


def test_symmetries_forgive_a_half_turn(client: TestClient, job: Job, shape: Shape) -> None:
    half = np.diag([-1.0, 1, -1])
    cameras = {}
    for index, (name, camera) in enumerate(zip(ids(job), shape.cameras, strict=True)):
        assert camera is not None
        matrix = camera.to_world.copy()
        if index == 2:
            matrix[:3] = half @ matrix[:3]
        cameras[name] = {"camera_to_world": matrix.tolist()}
    assert answered(client, job, "pose_evaluations", cameras=cameras)["mean_rotation_deg"] > 30
    found = answered(client, job, "pose_evaluations", cameras=cameras, symmetries=[half.tolist()])
    assert found["mean_rotation_deg"] < 1e-3


def bad_camera(**changed: Any) -> dict[str, Any]:
    return {"camera_to_world": np.eye(4).tolist(), **changed}


@pytest.mark.parametrize(
    ("camera", "complaint"),
    [
        ({}, "exactly one of camera_to_world"),
        (bad_camera(world_to_camera=np.eye(4).tolist()), "exactly one of camera_to_world"),
        ({"camera_to_world": (2 * np.eye(4)).tolist()}, "last row"),
        ({"camera_to_world": np.diag([1.1, 1, 1, 1]).tolist()}, "row 0 has length 1.1"),
        ({"camera_to_world": np.diag([1.0, 1, -1, 1]).tolist()}, "it mirrors"),
        ({"world_to_camera": [[1, 0.1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "no rotation"),
        ({"camera_to_world": np.eye(3).tolist()}, "camera_to_world"),
        (bad_camera(fov_deg=180), "less than 180"),
        (bad_camera(focal=3), "focal"),
    ],
)
def test_cameras_that_are_none_are_refused(
    client: TestClient, job: Job, camera: dict[str, Any], complaint: str
) -> None:
    first, second, _ = ids(job)
    answer = ask(client, job, "pose_evaluations", cameras={first: camera, second: bad_camera()})
    body = problem(answer, "validation-error", 422)
    assert complaint in body["detail"]
    assert all(pointer.startswith(f"/cameras/{first}") for pointer in pointers(body))


def test_poses_need_enough_known_images_of_the_job(client: TestClient, job: Job) -> None:
    first, second, _ = ids(job)
    two = {first: bad_camera(), second: bad_camera()}
    few = problem(ask(client, job, "pose_evaluations", cameras=two, alignment="barf"), "validation-error", 422)
    assert "at least 3" in few["detail"]
    assert pointers(few) == ["/cameras"]
    stranger = {**two, STRANGER: bad_camera()}
    unknown = problem(ask(client, job, "pose_evaluations", cameras=stranger), "image-not-found", 422)
    assert pointers(unknown) == [f"/cameras/{STRANGER}"]
    problem(ask(client, job, "pose_evaluations", cameras={first: bad_camera()}), "validation-error", 422)
    symmetries = [np.diag([1.0, 1, -1]).tolist()]
    mirrored = ask(client, job, "pose_evaluations", cameras=two, symmetries=symmetries)
    assert pointers(problem(mirrored, "validation-error", 422)) == ["/symmetries/0"]
    many = [np.eye(3).tolist()] * 25
    problem(ask(client, job, "pose_evaluations", cameras=two, symmetries=many), "validation-error", 422)


@pytest.mark.parametrize(
    ("link", "body", "code", "pointer"),
    [
        ("lift", {"image": STRANGER, "points": [[1, 1]]}, "image-not-found", "/image"),
        ("lift", {"image": "nothing", "points": [[1, 1]]}, "validation-error", "/image"),
        ("lift", {"image": "atlas", "points": []}, "validation-error", "/points"),
        ("lift", {"image": "atlas", "points": [[1, 1, 1]]}, "validation-error", "/points/0"),
        ("project", {"points": [[1, 1]]}, "validation-error", "/points/0/2"),
        ("project", {"points": [[0, 0, 0]], "targets": [STRANGER]}, "image-not-found", "/targets/0"),
        ("project", {"points": [[0, 0, 0]] * 10_001}, "validation-error", "/points"),
        ("project", {"points": [[0, 0, 0]] * 400}, "validation-error", "/points"),
    ],
)
def test_questions_with_a_fault_are_refused(
    client: TestClient, job: Job, link: str, body: dict[str, Any], code: str, pointer: str
) -> None:
    assert pointers(problem(ask(client, job, link, **body), code, 422)) == [pointer]


def test_numbers_that_are_not_finite_are_refused(client: TestClient, job: Job) -> None:
    headers = {"Content-Type": "application/json"}
    for number in ("NaN", "Infinity"):
        content = f'{{"points": [[0, {number}, 0]]}}'
        answer = client.post(job["links"]["project"], content=content, headers=headers)
        assert pointers(problem(answer, "validation-error", 422)) == ["/points/0/1"]


def test_other_forms_have_no_places_in_space(client: TestClient, tmp_path: Path) -> None:
    job = finished_job(client, services_of(client), tmp_path / "atlas", affine_atlas(), "neural_congealing")
    bodies: dict[str, dict[str, Any]] = {
        "lift": {"image": ids(job)[0], "points": [[1, 1]]},
        "project": {"points": [[0, 0, 0]]},
        "pose_evaluations": {"cameras": {name: bad_camera() for name in ids(job)}},
    }
    for link, body in bodies.items():
        detail = problem(ask(client, job, link, **body), "capability-missing", 409)["detail"]
        assert "neural_congealing (atlas) is not a shape" in detail


def test_a_job_without_result_answers_nothing(client: TestClient) -> None:
    files = [(f"{colour}.png", encoded(plain(colour))) for colour in ("teal", "olive")]
    job = submit(client, [item["id"] for item in upload(client, files).json()["items"]])
    problem(ask(client, job, "project", points=[[0, 0, 0]]), "job-not-finished", 409)
