import numpy as np
import pytest

from alignment.mesh import Mesh
from workers.methods.base import UnfitImagesError
from workers.methods.congealing_3d.canonical import RADIUS, in_canonical_frame

VERTICES = np.array([[1, 2, 3], [5, 2, 3], [1, 8, 3], [1, 2, 5]], dtype=np.float32)
FACES = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]], dtype=np.int32)


def directions(mesh: Mesh) -> np.ndarray:
    """Where the file's axes point, as rows."""
    edges = mesh.vertices[1:] - mesh.vertices[0]
    return np.asarray(edges / np.linalg.norm(edges, axis=1, keepdims=True))


def test_shapes_are_centred_on_their_box_and_reach_as_far_as_all() -> None:
    found = in_canonical_frame(Mesh(VERTICES, FACES))
    assert found.vertices.dtype == np.float32
    np.testing.assert_allclose(found.bounds.sum(axis=0), 0, atol=1e-6)
    assert np.linalg.norm(found.vertices, axis=1).max() == pytest.approx(RADIUS)
    lengths = np.linalg.norm(found.vertices[1:] - found.vertices[0], axis=1)
    np.testing.assert_allclose(lengths / lengths[0], [1, 1.5, 0.5], rtol=1e-5)


@pytest.mark.parametrize(
    ("up", "axes"),
    [
        ("y", [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        ("z", [[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        ("x", [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]),
    ],
)
def test_the_axis_that_points_up_becomes_y_and_nothing_is_mirrored(up: str, axes: list[list[int]]) -> None:
    found = directions(in_canonical_frame(Mesh(VERTICES, FACES), up_axis=up))  # type: ignore[arg-type]
    np.testing.assert_allclose(found, axes, atol=1e-6)
    assert np.linalg.det(found) == pytest.approx(1)


def test_a_yaw_turns_counterclockwise_seen_from_above() -> None:
    found = directions(in_canonical_frame(Mesh(VERTICES, FACES), yaw_deg=90))
    np.testing.assert_allclose(found, [[0, 0, -1], [0, 1, 0], [1, 0, 0]], atol=1e-6)


def test_colours_and_textures_stay() -> None:
    colours = np.arange(12, dtype=np.uint8).reshape(4, 3)
    found = in_canonical_frame(Mesh(VERTICES, FACES, colours), up_axis="z", yaw_deg=30)
    assert found.colours is colours
    assert found.faces is FACES


def test_a_single_point_is_refused() -> None:
    with pytest.raises(UnfitImagesError, match="all its vertices lie at one point"):
        in_canonical_frame(Mesh(np.ones_like(VERTICES), FACES))
