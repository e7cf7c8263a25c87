"""The method from end to end: four pictures of an animal and one of nothing, posed on the animal's mesh."""

import io
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import fast_simplification
import numpy as np
import numpy.typing as npt
import pytest
import torch
import trimesh
from safetensors.numpy import load_file

from alignment.edits import propagate
from alignment.glb import read_glb, write_glb
from alignment.layers import Layer
from alignment.mesh import Mesh
from alignment.shape import Shape
from alignment.storage_format import read_form
from api_schemas.manifest import ArtifactKind
from api_schemas.methods.congealing_3d import SPEC, Congealing3dParams
from tests.alignment.test_storage_format import manifest_of
from tests.workers.backbones.mvdream.tiny import NAME, load_tiny, save_tiny_checkpoint
from tests.workers.methods.congealing_3d.generate.test_source import OPTIONS
from tests.workers.methods.congealing_3d.photographs import CPU, errors_deg, inputs
from tests.workers.methods.recorder import Recorder
from workers.backbones.mvdream.networks import MvdreamNetworks
from workers.evaluation.place_oracle import PlaceOracle, PlaceOracleProvider, oracle_provider, place_coloured
from workers.evaluation.procedural_shapes import animal
from workers.evaluation.shape_set import ShapeSet, Viewpoints, drawn_set
from workers.geometry.cameras import of_results
from workers.methods.base import InputImage, MethodResult, UnfitImagesError
from workers.methods.congealing_3d.pipeline import MESH, Congealing3d
from workers.methods.export import Exported, export
from workers.rendering.surface import Surface
from workers.rendering.views import render
from workers.run_context import JobCanceled, Run

MESH_ID = "msh_01k8zd6c2q4x7v9m3n5p8r0s1t"
BASE: dict[str, Any] = {
    "backbone": "embedded",
    "cells": 16,
    "shape": {"source": "mesh", "mesh": MESH_ID},
    "search": {
        "azimuths": 12,
        "elevations": 6,
        "min_elevation_deg": -30,
        "max_elevation_deg": 70,
        "fovs_deg": [37.5],
        "hypotheses": 2,
    },
    "map_size": 192,
    "texture_size": 256,
}
QUICK: dict[str, Any] = {
    "refine": False,
    "warp": False,
    "map_size": 64,
    "texture_size": 128,
    "search": {**BASE["search"], "azimuths": 8},
}
NOISE = 4
Pixels = npt.NDArray[np.uint8]


@cache
def made() -> ShapeSet:
    return drawn_set([animal(0)], 4, 3, size=(192, 160), look="places", viewpoints=Viewpoints(fov_deg=(30, 45)))


def noise_image() -> InputImage:
    """Places of the animal in disorder, in the shape of the first picture."""
    rng, first = np.random.default_rng(0), inputs(made())[0]
    assert first.mask is not None
    rgb = first.rgb.copy()
    blocks = np.kron(rng.integers(90, 166, (40, 48, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    rgb[first.mask > 0] = blocks[first.mask > 0]
    return replace(first, name="noise.png", rgb=rgb)


def images() -> list[InputImage]:
    return [*inputs(made()), noise_image()]


@pytest.fixture(scope="module")
def mesh_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mesh") / "mesh.glb"
    path.write_bytes(write_glb(place_coloured(animal(0))))
    return path


def long_image() -> InputImage:
    """The upper part of the first object in the corner of a long thin picture."""
    first = images()[0]
    assert first.mask is not None
    rows, columns = np.nonzero(first.mask)
    cut = (slice(rows.min(), rows.min() + 40), slice(columns.min(), columns.max() + 1))
    rgb, mask = np.full((40, 620, 3), 255, dtype=np.uint8), np.zeros((40, 620), dtype=np.uint8)
    width = columns.max() + 1 - columns.min()
    rgb[:, :width], mask[:, :width] = first.rgb[cut], first.mask[cut]
    return InputImage("long.png", rgb, mask)


def coarse() -> Mesh:
    """The animal with fewer faces, in the colours of its places."""
    mesh = animal(0).mesh
    vertices, faces = fast_simplification.simplify(mesh.vertices, mesh.faces, target_reduction=0.85)
    colours = ((vertices + 0.5).clip(0, 1) * 255).round().astype(np.uint8)
    return Mesh(vertices.astype(np.float32), faces.astype(np.int32), colours)


@pytest.fixture(scope="module")
def coarse_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("coarse") / "mesh.glb"
    path.write_bytes(write_glb(coarse()))
    return path


def run_on(given: list[InputImage], mesh: Path, run: Run | None = None, **params: Any) -> MethodResult:
    run = run or Run(seed=0, device=CPU, stages=SPEC.stages)
    run.meshes = {MESH: mesh}
    asked = Congealing3dParams.model_validate({**BASE, **params})
    return Congealing3d(oracle_provider(noise=0.1)).run(given, asked, run)


@pytest.fixture(scope="module")
def result(mesh_file: Path) -> MethodResult:
    return run_on(images(), mesh_file)


@pytest.fixture(scope="module")
def exported(result: MethodResult, tmp_path_factory: pytest.TempPathFactory) -> tuple[Exported, Path]:
    folder = tmp_path_factory.mktemp("result")
    return export(result, images(), folder), folder


@pytest.fixture(scope="module")
def shape(result: MethodResult, exported: tuple[Exported, Path]) -> Shape:
    """The result as it is read back."""
    drafts = [draft for draft, _ in exported[0].artifacts]
    form = read_form(manifest_of(result.form, drafts), lambda name: exported[1] / name)
    assert isinstance(form, Shape)
    return form


def shown_pixels(index: int, step: int = 7) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float32]]:
    """Centres of pixels of the object and the places they show."""
    rows, columns = np.nonzero(made().masks[index])
    rows, columns = rows[::step], columns[::step]
    centres = np.stack([columns, rows], axis=1).astype(np.float64) + 0.5
    return centres, made().coordinates[index][rows, columns]


def on_head(places: npt.NDArray[np.floating], slack: float = 0.0) -> npt.NDArray[np.bool_]:
    return np.asarray((places[..., 0] > 0.27 - slack) & (places[..., 1] > 0.1 - slack))


def test_poses_are_those_the_pictures_were_taken_from(shape: Shape) -> None:
    cameras = of_results([camera for camera in shape.cameras[:NOISE] if camera is not None])
    errors = errors_deg(cameras, made().cameras)
    assert errors.median() < 3
    assert errors.max() < 6


def test_pixels_are_lifted_to_the_places_they_show_and_come_back(shape: Shape) -> None:
    for index in range(NOISE):
        points, places = shown_pixels(index)
        lifted = shape.lift(points, source=index)
        known = np.isfinite(lifted.points).all(axis=1)
        assert known.mean() > 0.8
        assert np.median(np.linalg.norm(lifted.points - places, axis=1)[known]) < 0.02
        back = shape.project(lifted.points[known], target=index)
        assert back.visible.mean() > 0.95
        away = np.linalg.norm(back.points - points[known], axis=1)
        assert np.median(away) < 0.5
        assert lifted.confidence[known].mean() > 0.7
        assert lifted.confidence[~known].max(initial=0) == 0


def test_places_of_the_truth_are_found_in_the_pictures(shape: Shape) -> None:
    errors = []
    for index in range(NOISE):
        points, places = shown_pixels(index)
        found = shape.project(places, target=index)
        assert found.visible.mean() > 0.8
        errors.append(np.linalg.norm(found.points - points, axis=1)[found.visible])
    assert np.median(np.concatenate(errors)) < 2


def test_points_are_carried_between_pictures(shape: Shape) -> None:
    hits, count = 0, 0
    for source in range(NOISE):
        for target in range(NOISE):
            if source == target:
                continue
            (there, seen_there), (here, seen_here) = (made().seen_vertices(index) for index in (target, source))
            both = seen_there & seen_here
            carried = shape.transfer(here[both], source=source, target=target).points
            side = np.ptp(there, axis=0).max()
            hits += int((np.linalg.norm(carried - there[both], axis=1) <= 0.1 * side).sum())
            count += int(both.sum())
    assert count > 1000
    assert hits / count > 0.8


def test_paint_on_the_heads_texture_lands_on_the_heads(shape: Shape) -> None:
    painted = np.zeros((*shape.texels.shape[:2], 4), dtype=np.uint8)
    painted[on_head(np.nan_to_num(shape.texels, nan=-1))] = (255, 0, 0, 255)
    for index in range(NOISE):
        layer = propagate(shape, Layer(painted), source=None, target=index, size=shape.images[index])
        is_painted = layer[..., 3] > 127
        truth = np.nan_to_num(made().coordinates[index], nan=-1)
        if on_head(truth).sum() < 100:
            continue
        assert on_head(truth, slack=0.03)[is_painted].mean() > 0.9
        assert is_painted[on_head(truth)].mean() > 0.7


def test_all_files_are_there_and_readable(exported: tuple[Exported, Path], result: MethodResult) -> None:
    done, folder = exported
    kinds = {draft.kind for draft, _ in done.artifacts}
    assert {
        ArtifactKind.MESH,
        ArtifactKind.TEXELS,
        ArtifactKind.CAMERAS,
        ArtifactKind.MAP_TO_CANONICAL,
        ArtifactKind.TURNTABLE,
        ArtifactKind.OVERLAY,
        ArtifactKind.CANONICAL_COORDINATES,
        ArtifactKind.POSES,
        ArtifactKind.SHAPE_REPORT,
        ArtifactKind.COLMAP,
        ArtifactKind.CONTACT_SHEET,
        ArtifactKind.TRANSFORMS,
        ArtifactKind.SELF_CHECK,
    } <= kinds
    assert all(path.stat().st_size > 0 for _, path in done.artifacts)
    loaded = trimesh.load(io.BytesIO((folder / "canonical/mesh.glb").read_bytes()), file_type="glb", force="mesh")
    assert isinstance(loaded, trimesh.Trimesh)
    assert isinstance(result.form, Shape)
    np.testing.assert_allclose(loaded.bounds, result.form.mesh.bounds, atol=1e-6)
    report = json.loads((folder / "shape_report.json").read_text())
    assert (report["source"], report["mesh"], report["is_coloured"]) == ("mesh", MESH_ID, True)
    assert report["faces"] == len(animal(0).mesh.faces)
    assert done.self_check["without_pose"] == []


def test_poses_are_told_with_what_else_they_could_be(exported: tuple[Exported, Path], shape: Shape) -> None:
    rows = json.loads((exported[1] / "poses.json").read_text())["images"]
    assert [row["name"] for row in rows] == [image.name for image in images()]
    for row, camera in zip(rows, shape.cameras, strict=True):
        assert camera is not None
        np.testing.assert_allclose(row["pose"]["camera_to_world"], camera.to_world, atol=1e-5)
        assert row["pose"]["fov_deg"] == pytest.approx(camera.fov_deg, abs=1e-4)
        assert all(other["score"] <= row["pose"]["score"] for other in row["alternatives"])
        x0, y0, x1, y1 = row["crop"]
        assert x1 - x0 == pytest.approx(y1 - y0)
    for row in rows[:NOISE]:
        assert row["problems"] == []
        assert row["best_candidate_score"] > row["score_by_chance"]
    scores = json.loads((exported[1] / "transforms.json").read_text())
    assert [row["outlier"] for row in scores["images"]] == [False] * NOISE + [True]
    assert 0 < scores["set"]["mean_fit"] < scores["set"]["mean_iou"] < 1


def test_an_image_that_nothing_fits_is_kept_and_flagged(result: MethodResult, exported: tuple[Exported, Path]) -> None:
    rows: Any = result.documents["poses"]
    assert rows["images"][NOISE]["problems"][0] == "no_better_than_chance"
    assert any("noise.png better than it fits disorder" in warning for warning in result.warnings)
    assert isinstance(result.form, Shape)
    assert result.form.cameras[NOISE] is not None
    assert any("noise.png" in str(warning) for warning in exported[0].self_check["warnings"])  # type: ignore[union-attr]


def test_the_mesh_that_is_written_looks_as_it_was_given(shape: Shape, mesh_file: Path) -> None:
    cameras, windows = made().cameras, torch.tensor([[0.0, 0.0, 1.0]]).repeat(NOISE, 1)
    given = render(Surface.of(read_glb(mesh_file.read_bytes())), cameras, windows, 96, supersampling=1)
    written = render(Surface.of(shape.mesh), cameras, windows, 96, supersampling=1)
    assert torch.equal(given.hit, written.hit)
    inner = -torch.nn.functional.max_pool2d(-given.hit.float(), 5, 1, 2) > 0
    difference = (given.rgb - written.rgb).abs().amax(dim=1, keepdim=True)[inner]
    assert difference.quantile(0.98) < 2 / 255


def test_the_same_seed_gives_the_same(coarse_file: Path, tmp_path: Path) -> None:
    given = images()[:2]
    for name in ("one", "other"):
        export(run_on(given, coarse_file, **{**QUICK, "refine": True, "warp": True}), given, tmp_path / name)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 20
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes(), file


@pytest.mark.parametrize("stage", ["candidates", "poses", "maps"])
def test_a_run_stops_where_it_is_told_to(coarse_file: Path, stage: str) -> None:
    recorder = Recorder(stop_at=stage)
    with pytest.raises(JobCanceled):
        run_on(images()[:1], coarse_file, recorder.run(), **QUICK)
    assert recorder.stages[-1] == stage


def test_a_single_image_without_a_mask_on_a_mesh_without_colours_gets_a_pose_and_a_map(tmp_path: Path) -> None:
    mesh, given = tmp_path / "grey.glb", inputs(made(), masked=False)[:1]
    mesh.write_bytes(write_glb(replace(coarse(), colours=None)))
    found = run_on(given, mesh, **QUICK)
    assert found.scores[0]["iou"] is None
    assert "mean_iou" not in found.set_scores
    assert any("no masks were given" in warning for warning in found.warnings)
    assert "the mesh has no colours: it was drawn grey, which features like less" in found.warnings
    report: Any = found.documents["shape_report"]
    assert report["is_coloured"] is False
    assert isinstance(found.form, Shape)
    assert np.isfinite(found.form.coordinates[0]).any()
    export(found, given, tmp_path / "result")


def test_odd_images_are_kept_and_those_without_an_object_get_no_pose(coarse_file: Path, tmp_path: Path) -> None:
    first, second, third = images()[:3]
    empty = replace(second, mask=np.zeros_like(second.mask))
    full = replace(third, mask=np.full_like(third.mask, 255))
    given = [first, empty, full, long_image()]
    found = run_on(given, coarse_file, **QUICK)
    assert isinstance(found.form, Shape)
    assert [camera is not None for camera in found.form.cameras] == [True, False, True, True]
    assert found.form.coordinates[1].shape == found.form.coordinates[0].shape
    assert found.form.coordinates[3].shape == (4, 64, 3)
    assert np.isnan(found.form.coordinates[1]).all()
    assert found.scores[1] == {"has_pose": False, "outlier": True}
    rows: Any = found.documents["poses"]
    assert rows["images"][1]["problems"] == ["mask_too_small"]
    assert "mask_full" in rows["images"][2]["problems"]
    assert any("1.png cover less than a hundredth" in warning for warning in found.warnings)
    assert any("2.png cover the whole image" in warning for warning in found.warnings)
    done = export(found, given, tmp_path)
    assert done.self_check["without_pose"] == [1]


def test_a_set_without_any_object_is_refused(mesh_file: Path) -> None:
    given = [replace(image, mask=np.zeros_like(image.mask)) for image in images()[:2]]
    with pytest.raises(UnfitImagesError, match="no mask covers 1% of its image; give masks that are white"):
        run_on(given, mesh_file, **QUICK)


class WithTinyNetworks(PlaceOracleProvider):
    """Gives the oracle and a diffusion model too small to know anything."""

    def __init__(self, networks: MvdreamNetworks) -> None:
        super().__init__(PlaceOracle())
        self._tiny = networks

    def mvdream(self, name: str) -> MvdreamNetworks:
        assert name == NAME
        return self._tiny


def test_a_generated_shape_brings_its_field_and_its_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny_checkpoint(tmp_path / NAME)
    monkeypatch.setattr("workers.methods.congealing_3d.pipeline.generate_options", lambda _: OPTIONS)
    asked = Congealing3dParams.model_validate({**BASE, **QUICK, "shape": {"source": "generate"}})
    given = images()[:1]
    backbones = WithTinyNetworks(load_tiny(tmp_path))
    found = Congealing3d(backbones).run(given, asked, Run(seed=0, device=CPU, stages=SPEC.stages))
    done = export(found, given, tmp_path / "result")
    names = {draft.name for draft, _ in done.artifacts}
    assert {"canonical/field.safetensors", "canonical/token.safetensors", "training_curve.safetensors"} <= names
    assert "grids.0" in load_file(tmp_path / "result/canonical/field.safetensors")
    report: Any = found.documents["shape_report"]
    assert report["source"] == "generate"
    assert isinstance(found.form, Shape)
    assert report["vertices"] <= len(found.form.mesh.vertices)
