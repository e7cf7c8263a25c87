"""Simplified meshes keep their place, their colours and the pieces of their texture."""

import numpy as np
import numpy.typing as npt
import pytest

from alignment.mesh import Mesh
from alignment.mesh_cleaning import cleaned, is_watertight
from alignment.mesh_limits import MeshFileError
from alignment.mesh_simplification import simplified
from alignment.mesh_textures import Surface
from tests.alignment.shapes import RADIUS, ball_mesh, on_texture

CELLS = 40


def sheet(left: float, right: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """A wavy sheet over [left, right] x [0, 1]: vertices and faces."""
    x, y = (each.ravel() for each in np.meshgrid(np.linspace(left, right, CELLS + 1), np.linspace(0, 1, CELLS + 1)))
    corner = (np.arange(CELLS)[:, None] * (CELLS + 1) + np.arange(CELLS)).ravel()
    above = corner + CELLS + 1
    faces = [np.stack([corner, corner + 1, above], axis=1), np.stack([corner + 1, above + 1, above], axis=1)]
    return np.stack([x, y, 0.05 * np.sin(7 * x) * np.sin(5 * y)], axis=1), np.concatenate(faces)


def two_pieces() -> Mesh:
    """Two sheets that meet at x = 1 and lie on the texture apart: u = 0.4 x, and 0.55 + 0.4 (x - 1)."""
    (first, faces), (second, _) = sheet(0, 1), sheet(1, 2)
    across = np.concatenate([0.4 * first[:, 0], 0.55 + 0.4 * (second[:, 0] - 1)])
    vertices = np.concatenate([first, second])
    return Mesh(
        vertices.astype(np.float32),
        np.concatenate([faces, faces + len(first)]).astype(np.int32),
        uv=np.column_stack([across, vertices[:, 1]]).astype(np.float32),
        texture=np.zeros((8, 8, 3), dtype=np.uint8),
    )


def test_no_face_stretches_from_one_piece_of_the_texture_to_another() -> None:
    mesh, _ = cleaned(simplified(two_pieces(), 600))
    assert mesh.uv is not None
    assert 300 < len(mesh.faces) <= 600
    across = mesh.uv[mesh.faces][..., 0]
    is_second = across.mean(axis=1) > 0.5
    x = mesh.vertices[mesh.faces][..., 0]
    expected = np.where(is_second[:, None], 0.55 + 0.4 * (x - 1), 0.4 * x)
    is_across = (x.min(axis=1) < 0.99) & (x.max(axis=1) > 1.01)
    assert np.abs(across - expected)[~is_across].max() < 0.02
    assert np.abs(mesh.uv[:, 1] - mesh.vertices[:, 1]).max() < 0.02
    # The few faces that reach over the border keep to the piece that most of them lies on.
    assert is_across.mean() < 0.1
    assert ((across < 0.45).all(axis=1) | (across > 0.5).all(axis=1)).all()


def test_a_closed_mesh_stays_closed_although_its_texture_is_cut_open() -> None:
    mesh, _ = cleaned(simplified(cleaned_ball(), 700))
    assert is_watertight(mesh)
    assert np.abs(np.linalg.norm(mesh.vertices, axis=1) - RADIUS).max() < 0.02
    assert mesh.uv is not None
    away = np.abs(mesh.vertices[:, 1]) < 0.4
    gap = np.abs(on_texture(mesh.vertices.astype(np.float64)) - mesh.uv)[away]
    # Left and right of the cut the texture's sides are the same place.
    assert np.minimum(gap[:, 0], 1 - gap[:, 0]).max() < 0.03
    assert gap[:, 1].max() < 0.03


def cleaned_ball() -> Mesh:
    """A ball whose vertices at the seam and the poles lie exactly on one another."""
    ball = ball_mesh(rows=30, columns=60)
    seam = np.isin(ball.vertices[:, 2].round(6), [0.0]) & (ball.vertices[:, 0] > 0)
    vertices = ball.vertices.copy()
    vertices[seam, 2] = 0
    poles = np.abs(np.abs(vertices[:, 1]) - RADIUS) < 1e-6
    vertices[poles] = np.sign(vertices[poles]) * (0, RADIUS, 0)
    assert ball.uv is not None
    uv = ball.uv.astype(np.float64)
    return cleaned(Surface(vertices.astype(np.float64), ball.faces.astype(np.int64), uv, ball.texture))[0]


def test_colours_are_those_of_the_nearest_place() -> None:
    vertices, faces = sheet(0, 1)
    colours = np.stack([255 * vertices[:, 0], 255 * vertices[:, 1], np.full(len(vertices), 90)], axis=1)
    mesh = Mesh(vertices.astype(np.float32), faces.astype(np.int32), colours=np.rint(colours).astype(np.uint8))
    found, _ = cleaned(simplified(mesh, 300))
    assert found.colours is not None
    expected = np.stack([255 * found.vertices[:, 0], 255 * found.vertices[:, 1]], axis=1)
    assert np.abs(found.colours[:, :2] - expected).max() < 4
    assert set(found.colours[:, 2].tolist()) == {90}


@pytest.mark.parametrize("scale", [1e-4, 1e5])
def test_the_unit_of_length_does_not_matter(scale: float) -> None:
    vertices, faces = sheet(0, 1)
    plain = Mesh((vertices * scale).astype(np.float32), faces.astype(np.int32))
    found, dropped = cleaned(simplified(plain, 300))
    assert dropped == 0
    assert 250 < len(found.faces) <= 300
    assert np.allclose(found.bounds / scale, plain.bounds / scale, atol=0.02)


def test_loose_pieces_are_not_thrown_away() -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    vertices = (corners + 10 * np.arange(100)[:, None, None] * (1, 0, 0)).reshape(-1, 3)
    mesh = Mesh(vertices.astype(np.float32), np.arange(300, dtype=np.int32).reshape(-1, 3))
    with pytest.raises(MeshFileError, match="without losing parts"):
        simplified(mesh, 20)
