from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy.spatial import KDTree

from alignment.mesh import Mesh
from workers.evaluation.procedural_shapes import animal
from workers.evaluation.shape_set import ShapeSet, Viewpoints, drawn_set
from workers.evaluation.visual_hull import CarvingOptions, brought_to_canonical_frame, carved
from workers.geometry.cameras import Cameras
from workers.rendering.rasteriser import rasterise
from workers.rendering.surface import Surface

CARVED, UNUSED = slice(0, 16), slice(16, 20)
COARSE = CarvingOptions(cells=64)
Z_UP = torch.tensor([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
"""From y up to z up."""


@cache
def drawn() -> ShapeSet:
    viewpoints = Viewpoints(elevation_deg=(-50, 60), roll_deg=15)
    return drawn_set([animal(0)], 20, 5, size=(180, 144), look="places", viewpoints=viewpoints)


@cache
def hull() -> Mesh:
    made = drawn()
    return carved(made.masks[CARVED], made.cameras[CARVED], pictures=made.pictures[CARVED], options=COARSE)


def silhouettes(mesh: Mesh, cameras: Cameras) -> npt.NDArray[np.bool_]:
    height, width = drawn().masks[0].shape
    surface, windows = Surface.of(mesh), torch.tensor([[0.0, 0.0, width / height]]).expand(len(cameras), 3)
    found: npt.NDArray[np.bool_] = rasterise(surface.vertices, surface.faces, cameras, windows, width).mask.numpy()
    above = (width - height) // 2
    return found[:, above : above + height]


def agreement(mesh: Mesh, rows: slice) -> npt.NDArray[np.float64]:
    seen, true = silhouettes(mesh, drawn().cameras[rows]), np.stack(drawn().masks[rows])
    return np.asarray((seen & true).sum(axis=(1, 2)) / (seen | true).sum(axis=(1, 2)))


def discs(cameras: Cameras, point: torch.Tensor) -> list[npt.NDArray[np.bool_]]:
    """Where cameras see a small ball."""
    height, width = drawn().masks[0].shape
    places, _ = cameras.project(point[None])
    middles = (places[:, 0].numpy() + np.array([width / height, 1])) * height / 2
    rows, columns = np.mgrid[:height, :width] + 0.5
    return [np.hypot(columns - x, rows - y) < 3 for x, y in middles]


def test_silhouettes_agree_in_views_that_were_not_used() -> None:
    assert agreement(hull(), CARVED).min() > 0.95
    assert agreement(hull(), UNUSED).min() > 0.9


def test_the_hull_is_closed_and_turned_outward() -> None:
    mesh = hull()
    edges = np.sort(np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:], mesh.faces[:, ::2]]), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    assert np.einsum("ij,ij->", a, np.cross(b, c)) > 0


def test_vertices_have_the_colour_of_the_place_that_they_stand_for() -> None:
    mesh, shape = hull(), drawn().shapes[0]
    assert mesh.colours is not None
    _, nearest = KDTree(shape.mesh.vertices).query(mesh.vertices)
    expected = (shape.places[nearest] + 0.5).clip(0, 1) * 255
    assert np.median(np.abs(mesh.colours - expected).max(axis=1)) < 6
    assert np.quantile(np.abs(mesh.colours - expected).max(axis=1), 0.95) < 30


def test_without_pictures_there_are_no_colours() -> None:
    made = drawn()
    mesh = carved(made.masks[CARVED], made.cameras[CARVED], options=CarvingOptions(cells=24))
    assert not mesh.is_coloured


def test_a_single_wrong_mask_is_outvoted() -> None:
    made = drawn()
    masks = [mask.copy() for mask in made.masks[CARVED]]
    masks[3][:, : np.nonzero(masks[3])[1].min() + 40] = False
    strict, lenient = (
        carved(masks, made.cameras[CARVED], options=CarvingOptions(cells=64, dissent=dissent)) for dissent in (0, 0.07)
    )
    assert agreement(strict, UNUSED).mean() < 0.8
    assert agreement(lenient, UNUSED).mean() > 0.88


def test_small_parts_are_dropped() -> None:
    made = drawn()
    cameras = made.cameras[CARVED]
    speck = torch.tensor([0.0, 0.42, 0.0])
    masks = [mask | disc for mask, disc in zip(made.masks[CARVED], discs(cameras, speck), strict=True)]
    mesh = carved(masks, cameras, options=COARSE)
    assert np.linalg.norm(mesh.vertices - speck.numpy(), axis=1).min() > 0.15


@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_mesh_and_cameras_come_to_the_canonical_frame_together(scale: float) -> None:
    made = drawn()
    mesh, cameras = hull(), made.cameras
    shift = torch.tensor([0.3, -2.0, 1.1])
    moved = (scale * torch.from_numpy(mesh.vertices) @ Z_UP.T + shift).numpy()
    rotation = cameras.rotation @ Z_UP.T
    around = Cameras(rotation, scale * cameras.translation - rotation @ shift, cameras.focal)
    found, brought = brought_to_canonical_frame(Mesh(moved, mesh.faces), around, up_axis="z")
    assert np.linalg.norm(found.vertices, axis=1).max() == pytest.approx(0.5, abs=1e-4)
    np.testing.assert_allclose(brought.rotation, cameras.rotation, atol=1e-4)
    before, _ = cameras.project(torch.from_numpy(mesh.vertices))
    after, depth = brought.project(torch.from_numpy(found.vertices))
    np.testing.assert_allclose(after, before, atol=1e-3)
    assert (depth > 0).all()


def test_a_carved_shape_lies_in_the_frame_of_its_cameras() -> None:
    made, shift = drawn(), torch.tensor([3.0, -1.0, 2.0])
    cameras = made.cameras[CARVED]
    away = Cameras(cameras.rotation, 0.2 * cameras.translation - cameras.rotation @ shift, cameras.focal)
    mesh = carved(made.masks[CARVED], away, options=COARSE)
    np.testing.assert_allclose((mesh.bounds - shift.numpy()) / 0.2, hull().bounds, atol=0.02)


def test_masks_that_share_no_place_are_refused() -> None:
    made = drawn()
    elsewhere = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    wrong = Cameras(made.cameras.rotation, made.cameras.translation + elsewhere, made.cameras.focal)
    with pytest.raises(ValueError, match=r"16 of 16 masks.*belong together"):
        carved(made.masks[CARVED], wrong[CARVED], options=CarvingOptions(cells=24, dissent=0))


def test_masks_pictures_and_cameras_must_fit() -> None:
    made = drawn()
    with pytest.raises(ValueError, match="3 masks and 4 cameras"):
        carved(made.masks[:3], made.cameras[:4])
    with pytest.raises(ValueError, match="2 pictures do not fit 3 masks"):
        carved(made.masks[:3], made.cameras[:3], pictures=made.pictures[:2])
    with pytest.raises(ValueError, match="masks 1 are empty"):
        carved([made.masks[0], np.zeros_like(made.masks[1])], made.cameras[:2])
