"""What the benchmark of poses reports, and that what it reads and draws lies where it says."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.congealing_3d.__main__ import main
from benchmarks.congealing_3d.beds import CLUTTER, bed_pictures
from benchmarks.congealing_3d.meshes import mesh_pictures, meshes_of
from benchmarks.congealing_3d.photographs import read_set, template_scores
from benchmarks.congealing_3d.stage import Pictures, boxed, candidates_of, errors_deg, scene_of
from workers.backbones.registry import BackboneProvider
from workers.methods.congealing_3d.pose.grid import GridOptions
from workers.rendering.surface import Surface
from workers.rendering.views import render

BOX_OBJ = """
mtllib box.mtl
usemtl red
v -1 0 -2
v 1 0 -2
v 1 0.3 -2
v -1 0.3 -2
v -1 0 2
v 1 0 2
v 1 1 2
v -1 1 2
f 1 4 3 2
f 5 6 7 8
f 1 5 8 4
f 2 3 7 6
f 4 8 7 3
f 1 2 6 5
"""
BOX_MTL = "newmtl red\nKd 1 0 0\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "meshes"
    folder.mkdir()
    (folder / "box.obj").write_text(BOX_OBJ)
    (folder / "box.mtl").write_text(BOX_MTL)
    listed = [{"name": "box", "file": "box.obj", "category": "box", "axes": "up +y"}]
    (folder / "meshes.json").write_text(json.dumps([*listed, {"name": "lost", "file": "no.obj", "category": "box"}]))
    return tmp_path


def write_set(data: Path) -> None:
    """Four pictures of the box, whose poses are those from which they were drawn."""
    folder = data / "boxes"
    folder.mkdir()
    drawn = mesh_pictures(meshes_of(data, "box"), 4)
    entries = []
    for image, rotation in zip(drawn.images, drawn.rotation, strict=True):
        Image.fromarray(image.rgb).save(folder / f"{image.name}.png")
        pose = np.eye(4)
        pose[:3, :3], pose[2, 3] = rotation.numpy(), 3
        entries.append({"file": f"{image.name}.png", "bbox": [0, 0, 256, 256], "pose": pose.tolist()})
    (folder / "annotations.json").write_text(json.dumps({"category": "box", "images": entries}))


def test_the_quick_run_finds_the_same_poses_in_both_forms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["congealing_3d", "--quick"])
    threads = torch.get_num_threads()
    try:
        main()
    finally:
        torch.set_num_threads(threads)
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {"search_speedup", "median_rot_deg", "under_10deg", "cpu_s"} <= figures.keys()
    assert figures["search_same"]
    assert figures["median_rot_deg"] < 10
    assert figures["searches"][0]["one_by_one"]["images"] == 1


def test_meshes_of_a_category_are_read_with_their_colours(data: Path) -> None:
    (box,) = meshes_of(data, "box")
    assert box.mesh.is_coloured
    assert not box.grey.mesh.is_coloured
    np.testing.assert_allclose(box.mesh.bounds[1] / box.mesh.bounds[1][0], [1, 0.5, 2], rtol=1e-5)
    assert meshes_of(data, "cup") == []


def test_photographs_keep_the_poses_they_come_with(data: Path) -> None:
    write_set(data)
    read = read_set(data / "boxes", 4)
    assert errors_deg(mesh_pictures(meshes_of(data, "box"), 4).rotation, read.pictures) == pytest.approx([0] * 4)
    for camera, rotation in zip(read.cameras, read.pictures.rotation, strict=True):
        np.testing.assert_allclose(camera.world_to_camera[:3, :3], rotation, atol=1e-6)


def test_a_candidate_s_own_view_has_it_as_nearest_template(data: Path) -> None:
    (box,) = meshes_of(data, "box")
    options = GridOptions(azimuths=8, elevations=1, elevation_range_deg=(20, 40), fovs_deg=(30.0,))
    candidates = candidates_of(Surface.of(box.mesh), BackboneProvider().get("dense_descriptor"), options)
    chosen, bank = [3, 5], candidates.bank
    views = render(candidates.reader.surface, bank.grid.cameras[chosen], bank.windows[chosen], 128)
    rgb = (views.rgb.permute(0, 2, 3, 1).numpy() * 255).round().astype(np.uint8)
    pictures = Pictures([boxed("view", each, None) for each in rgb], None, bank.grid.cameras.rotation[chosen])
    scores = template_scores(pictures, candidates)
    assert scores.argmax(dim=1).tolist() == chosen
    assert float(scores.amax(dim=1).min()) > 0.9


def test_clutter_comes_with_masks_that_leave_it_out() -> None:
    pictures = bed_pictures(CLUTTER, 1)
    crops = scene_of(pictures, 64).crops
    assert crops.masks is not None
    assert float(crops.pictures[0][:, crops.masks[0, 0] == 0].min()) == 1.0
