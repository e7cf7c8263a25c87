import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alignment.forms import Form
from alignment.shape import Shape
from alignment.storage_format import read_form, write_form
from api_schemas.manifest import ArtifactKind, Conventions, ResultForm
from tests.alignment.shapes import SIZE, ball
from tests.alignment.test_storage_format import manifest_of


def small() -> Shape:
    shape = ball(cells=(30, 40), texels=32)
    nothing = np.full_like(shape.coordinates[2], np.nan)
    return replace(shape, cameras=(*shape.cameras[:2], None), coordinates=(*shape.coordinates[:2], nothing))


def read_back(shape: Form, folder: Path) -> Shape:
    manifest = manifest_of(shape, write_form(shape, folder))
    assert manifest.form is ResultForm.SHAPE
    again = read_form(manifest, lambda name: folder / name)
    assert isinstance(again, Shape)
    return again


def test_a_shape_read_back_answers_as_before(tmp_path: Path) -> None:
    shape = small()
    again = read_back(shape, tmp_path)
    points = np.random.default_rng(0).uniform(0, 1, (200, 2)) * SIZE.extent
    for source, target in ((0, 1), (1, None), (0, 2)):
        before, after = (each.transfer(points, source=source, target=target) for each in (shape, again))
        np.testing.assert_array_equal(after.points, before.points)
        assert after.confidence == pytest.approx(before.confidence, abs=1e-3)
    for field, stored in zip(shape.coordinates, again.coordinates, strict=True):
        np.testing.assert_array_equal(stored, field)
    np.testing.assert_array_equal(again.texels, shape.texels)
    np.testing.assert_array_equal(again.mesh.vertices, shape.mesh.vertices)
    np.testing.assert_array_equal(again.mesh.faces, shape.mesh.faces)


def test_cameras_are_kept_to_the_last_digit(tmp_path: Path) -> None:
    shape = small()
    again = read_back(shape, tmp_path)
    assert again.cameras[2] is None
    for camera, stored in zip(shape.cameras[:2], again.cameras[:2], strict=True):
        assert camera is not None
        assert stored is not None
        np.testing.assert_array_equal(stored.to_world, camera.to_world)
        assert stored.fov_deg == camera.fov_deg


def test_cameras_are_told_in_both_conventions(tmp_path: Path) -> None:
    shape = small()
    write_form(shape, tmp_path)
    rows = json.loads((tmp_path / "cameras.json").read_text())["cameras"]
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert rows[2]["pose"] is None
    pose = {name: np.array(value) for name, value in rows[1]["pose"].items()}
    point = np.array([0.1, 0.2, -0.3])
    seen = pose["world_to_camera"] @ [*point, 1]
    pixel = pose["intrinsics"] @ seen[:3]
    camera = shape.cameras[1]
    assert camera is not None
    assert pixel[:2] / pixel[2] == pytest.approx(camera.project(point[None], SIZE)[0][0])
    flipped = np.diag([1, -1, -1, 1]) @ np.linalg.inv(pose["camera_to_world"])
    assert flipped == pytest.approx(pose["world_to_camera"])


def test_files_are_described(tmp_path: Path) -> None:
    drafts = {draft.name: draft for draft in write_form(small(), tmp_path)}
    assert all((tmp_path / name).is_file() for name in drafts)
    kinds = {name: draft.kind for name, draft in drafts.items()}
    assert kinds["canonical/mesh.glb"] is ArtifactKind.MESH
    assert kinds["cameras.json"] is ArtifactKind.CAMERAS
    assert kinds["canonical/texels.safetensors"] is ArtifactKind.TEXELS
    second = drafts["maps/coordinates/001.safetensors"]
    assert (second.kind, second.images) == (ArtifactKind.MAP_TO_CANONICAL, [1])
    field, confidence = second.tensors
    assert (field.name, field.dtype, field.axes, field.shape) == ("map", "F32", ["y", "x", "xyz"], [30, 40, 3])
    assert field.missing == "NaN where the image does not show the object"
    assert (confidence.name, confidence.dtype) == ("confidence", "F16")
    assert drafts["canonical/mesh.glb"].media_type == "model/gltf-binary"
    assert "y up" in Conventions().space


def test_maps_are_memory_mapped(tmp_path: Path) -> None:
    again = read_back(small(), tmp_path)
    assert isinstance(again.coordinates[0], np.memmap)
    assert isinstance(again.texels, np.memmap)
