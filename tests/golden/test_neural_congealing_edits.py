"""Edits: values of the official rules of Neural Congealing (arXiv 2302.03956); backward sampling is near to them."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from alignment.atlas import Atlas
from alignment.edits import composite, propagate
from alignment.layers import Layer
from alignment.sampling import ImageSize, cell_centres
from workers.evaluation.official_edits import edit_by_griddata, edit_by_splat, splat

Float64 = npt.NDArray[np.float64]
SIDE = 96
SIZE = ImageSize(SIDE, SIDE)
GREY = 0.4


def test_griddata_edit() -> None:
    points = np.array([[0.2, 0.2], [2.7, 0.3], [0.4, 2.6], [2.9, 2.8]])
    colours = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0.5], [1, 1, 1, 0.0]])
    red = edit_by_griddata(np.full((4, 4, 3), 0.5), points, colours)[..., 0]
    expected = np.full((4, 4), 0.5)
    expected[1] = [0.5, 0.403139, 0.076087, 0.5]
    expected[2] = [0.5, 0.184783, 0.440195, 0.5]
    assert red == pytest.approx(expected, abs=2e-6)


def test_splat() -> None:
    points = np.array([[1.25, 1.5], [3.0, 2.0]])
    colour, alpha = splat(points, np.eye(2), np.ones(2), (5, 5))
    assert colour[2, :, 0] == pytest.approx([1, 0.90689, 0.528903, 0.114584, 0.014698], abs=2e-6)
    assert alpha[2] == pytest.approx([0.326663, 0.909221, 1, 1, 0.547454], abs=2e-6)


def to_image(canonical: Float64) -> Float64:
    """A smooth warp, the residual first and then a similarity, as the method has it."""
    u, v = canonical[..., 0], canonical[..., 1]
    bent = np.stack([u + 0.03 * np.sin(5 * v + 1), v + 0.03 * np.cos(4 * u)], axis=-1)
    return bent @ (SIDE * np.array([[0.72, 0.2], [-0.2, 0.72]])) + (14.0, 3.0)


def to_canonical(points: Float64) -> Float64:
    """Its inverse, by fixed-point iteration."""
    linear = np.linalg.inv(SIDE * np.array([[0.72, 0.2], [-0.2, 0.72]]))
    canonical = np.full_like(points, 0.5)
    for _ in range(60):
        canonical = canonical + (points - to_image(canonical)) @ linear
    return canonical


def warped_atlas() -> Atlas:
    forward = to_canonical(cell_centres(SIDE, SIDE, SIZE.extent))
    backward = to_image(cell_centres(SIDE, SIDE, np.ones(2)))
    trust = np.ones((SIDE, SIDE), dtype=np.float32)
    return Atlas((SIZE,), (forward.astype(np.float32),), (backward.astype(np.float32),), (trust,))


def smooth_paint() -> npt.NDArray[np.uint8]:
    """Two soft blots of different colours, away from the atlas' border."""
    places = cell_centres(SIDE, SIDE, np.ones(2))
    blots = [np.exp(-(((places - centre) / 0.13) ** 2).sum(axis=-1)) for centre in ((0.4, 0.45), (0.62, 0.58))]
    layer = np.zeros((SIDE, SIDE, 4))
    layer[..., 0], layer[..., 1], layer[..., 2] = blots[0] / (blots[0] + blots[1]), 0.3, 0.8
    layer[..., 3] = np.clip(blots[0] + blots[1], 0, 1) * 0.9
    return np.rint(layer * 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("official", "mean_error", "max_error"), [(edit_by_griddata, 0.0015, 0.008), (edit_by_splat, 0.003, 0.02)]
)
def test_backward_sampling_agrees_on_a_smooth_warp(
    official: Callable[[Float64, Float64, Float64], Float64], mean_error: float, max_error: float
) -> None:
    paint = smooth_paint()
    image = np.full((SIDE, SIDE, 3), GREY)
    # Index coordinates: half a pixel less.
    thrown = to_image(cell_centres(SIDE, SIDE, np.ones(2))).reshape(-1, 2) - 0.5
    theirs = official(image, thrown, paint.reshape(-1, 4) / 255)
    layer = propagate(warped_atlas(), Layer(paint), source=None, target=0, size=SIZE)
    ours = composite(np.rint(image * 255).astype(np.uint8), layer, "over") / 255
    painted = layer[..., 3] > 8
    assert painted.sum() > 1000
    difference = np.abs(ours - theirs)[painted]
    assert np.abs(theirs - GREY)[painted].mean() > 0.05
    assert difference.mean() < mean_error
    assert difference.max() < max_error


def test_half_a_pixel_would_be_noticed() -> None:
    paint, image = smooth_paint(), np.full((SIDE, SIDE, 3), GREY)
    places = to_image(cell_centres(SIDE, SIDE, np.ones(2))).reshape(-1, 2)
    right, shifted = (edit_by_griddata(image, places - shift, paint.reshape(-1, 4) / 255) for shift in (0.5, 0.0))
    assert np.abs(right - shifted).max() > 0.02
