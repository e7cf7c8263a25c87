"""A mesh and pictures of it become a shape with poses over HTTP, and the shape answers questions in space."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import trimesh
from PIL import Image
from pydantic import JsonValue

from alignment.glb import write_glb
from api_schemas.jobs import Job
from api_schemas.manifest import ResultForm
from client.errors import ProblemError
from client.sdk import Congeal
from tests.e2e.running import Up
from workers.evaluation.procedural_shapes import animal
from workers.evaluation.shape_set import ShapeSet, Viewpoints, drawn_set

SIDE = 200
SEARCH: dict[str, JsonValue] = {
    "azimuths": 8,
    "elevations": 4,
    "min_elevation_deg": -30,
    "max_elevation_deg": 60,
    "fovs_deg": [37.5],
    "hypotheses": 2,
}
PARAMS: dict[str, JsonValue] = {
    "backbone": "embedded",
    "cells": 16,
    "map_size": 64,
    "texture_size": 128,
    "search": SEARCH,
}
LIFTED_PX, ROTATION_DEG, TRANSLATION, CARRIED = 0.5, 15.0, 0.2, 0.05


@pytest.fixture(autouse=True)
def _no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Autouse, so that the service starts without any."""
    monkeypatch.setenv("CONGEAL_WEIGHTS_DIR", str(tmp_path / "weights"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


@dataclass(frozen=True)
class Finished:
    """A job with its result, and the truth about its pictures."""

    congeal: Congeal
    job: Job
    folder: Path
    made: ShapeSet

    @property
    def ids(self) -> list[str]:
        return [image.id for image in self.job.inputs.images]

    def pixels(self, index: int) -> tuple[list[tuple[float, float]], npt.NDArray[np.float32]]:
        """Some points of the object in a picture, and what they truly show."""
        rows, columns = (each[::37] for each in np.nonzero(self.made.masks[index]))
        return list(zip(columns + 0.5, rows + 0.5, strict=True)), self.made.coordinates[index][rows, columns]


def written(made: ShapeSet, folder: Path) -> tuple[list[Path], list[Path]]:
    pictures, masks = folder / "pictures", folder / "masks"
    for place in (pictures, masks):
        place.mkdir()
    for index, (rgb, mask) in enumerate(zip(made.pictures, made.masks, strict=True)):
        Image.fromarray(rgb).save(pictures / f"{index}.png")
        Image.fromarray((mask * 255).astype(np.uint8)).save(masks / f"{index}.png")
    return sorted(pictures.iterdir()), sorted(masks.iterdir())


def finish(congeal: Congeal, folder: Path) -> Finished:
    viewpoints = Viewpoints(elevation_deg=(-10.0, 40.0), fov_deg=(30.0, 45.0))
    made = drawn_set([animal(0)], 3, 1, size=(SIDE, SIDE), viewpoints=viewpoints)
    (folder / "animal.glb").write_bytes(write_glb(animal(0).mesh))
    mesh = congeal.upload_mesh(folder / "animal.glb")
    assert (mesh.colours, mesh.warnings) == ("vertex", [])
    pictures, masks = written(made, folder)
    params = PARAMS | {"shape": {"source": "mesh", "mesh": mesh.id}}
    job = congeal.wait(congeal.submit("congealing_3d", paths=pictures, masks=masks, params=params))
    assert job.error is None
    return Finished(congeal, job, folder / "result", made)


def test_a_mesh_gets_a_pose_in_every_picture(up: Up, tmp_path: Path) -> None:
    up.first_line()
    with Congeal(up.url) as congeal:
        done = finish(congeal, tmp_path)
        manifest = congeal.fetch(done.job, done.folder)
        assert manifest.form is ResultForm.SHAPE
        assert manifest.self_check["without_pose"] == []
        the_files_open_elsewhere(done)
        poses_are_near_the_true_ones(done)
        points_are_lifted_and_found_again(done)
        points_reach_the_same_place_elsewhere(done)
        paint_on_the_texture_covers_the_objects(done, tmp_path / "layer.png")
        shapes_are_not_made_without_weights(done)


def the_files_open_elsewhere(done: Finished) -> None:
    mesh = trimesh.load_mesh(done.folder / "canonical/mesh.glb")
    assert np.linalg.norm(mesh.vertices, axis=1).max() == pytest.approx(0.5, abs=1e-4)
    assert mesh.visual.material.baseColorTexture.size == (128, 128)
    rows = {
        name: [
            line.split() for line in (done.folder / f"colmap/{name}.txt").read_text().splitlines() if line[:1] != "#"
        ]
        for name in ("cameras", "images", "points3d")
    }
    assert [row[:4] for row in rows["cameras"]] == [[str(n), "PINHOLE", str(SIDE), str(SIDE)] for n in (1, 2, 3)]
    assert [row[-1] for row in rows["images"] if row] == ["0.png", "1.png", "2.png"]
    assert len(rows["points3d"]) > 100
    with Image.open(done.folder / "canonical/turntable.webp") as turning:
        assert turning.n_frames == len(list((done.folder / "pictures/turntable").iterdir()))  # type: ignore[attr-defined]
    for name in ("overlays/002.png", "canonical_places/002.png", "contact_sheet.png"):
        assert (done.folder / "pictures" / name).is_file()


def poses_are_near_the_true_ones(done: Finished) -> None:
    known = {
        name: {"camera_to_world": camera.to_world.tolist(), "fov_deg": camera.fov_deg}
        for name, camera in zip(done.ids, done.made.cameras.as_results(), strict=True)
    }
    found = done.congeal.evaluate_poses(done.job, cameras=known)
    assert (found.images, found.missing) == (3, 0)
    for row in found.errors:
        assert row.rotation_deg is not None
        assert row.rotation_deg < ROTATION_DEG
    assert found.mean_translation < TRANSLATION


def points_are_lifted_and_found_again(done: Finished) -> None:
    for index, name in enumerate(done.ids):
        pixels, _ = done.pixels(index)
        lifted = done.congeal.lift(done.job, image=name, points=pixels).points
        known = {pixel: place for pixel, place in zip(pixels, lifted, strict=True) if place is not None}
        assert len(known) > 0.8 * len(pixels)
        (back,) = done.congeal.project(done.job, points=list(known.values()), targets=[name]).targets
        errors = [
            np.hypot(*np.subtract(found, pixel))
            for pixel, found, visible in zip(known, back.points, back.visible, strict=True)
            if visible and found is not None
        ]
        assert len(errors) > 0.8 * len(known)
        assert np.median(errors) < LIFTED_PX


def points_reach_the_same_place_elsewhere(done: Finished) -> None:
    pixels, places = done.pixels(0)
    carried = done.congeal.transfer(done.job, source=done.ids[0], points=pixels)
    assert [target.target for target in carried.targets] == done.ids[1:]
    for index, target in enumerate(carried.targets, start=1):
        truth = done.made.coordinates[index]
        distances = [
            np.linalg.norm(truth[int(point[1]), int(point[0])] - place)
            for point, place, inside in zip(target.points, places, target.inside, strict=True)
            if point is not None and inside
        ]
        assert len(distances) > 0.4 * len(pixels)
        assert np.nanmedian(distances) < CARRIED


def paint_on_the_texture_covers_the_objects(done: Finished, layer: Path) -> None:
    Image.new("RGBA", (64, 64), (255, 0, 0, 255)).save(layer)
    edit = done.congeal.edit(done.job, layer)
    painted = [result.coverage for result in edit.results]
    assert painted == pytest.approx([mask.mean() for mask in done.made.masks], abs=0.03)
    composites = done.congeal.fetch_edit(edit, done.folder / "painted")
    with Image.open(composites[done.ids[0]]) as composite:
        rgb = np.asarray(composite.convert("RGB"))
    columns, rows = np.transpose(done.pixels(0)[0]).astype(int)
    assert np.median(rgb[rows, columns], axis=0).tolist() == [255, 0, 0]
    assert rgb[2, 2].tolist() == [255, 255, 255]


def shapes_are_not_made_without_weights(done: Finished) -> None:
    with pytest.raises(ProblemError) as refused:
        done.congeal.submit("congealing_3d", images=done.ids)
    assert refused.value.problem.code == "weights-missing"
    for told in ("'mvdream' (2585 MB)", "POST /v1/meshes", "congeal weights pull mvdream"):
        assert told in str(refused.value)
