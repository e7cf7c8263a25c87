from dataclasses import replace

import numpy as np
import pytest

from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize, cell_centres
from tests.alignment.shapes import SIZE as BALL_SIZE
from tests.alignment.shapes import ball
from workers.rendering.congealed import (
    Warped,
    average,
    congealed,
    fitted,
    frame_image,
    on_background,
    resized_map,
    warp_picture,
)

SIZE = ImageSize(40, 30)


def ramp() -> np.ndarray:
    y, x = np.mgrid[:30, :40]
    return np.stack([6 * x, 8 * y, np.zeros_like(x)], axis=-1).astype(np.uint8)


def test_identity_gives_the_picture_back() -> None:
    view = warp_picture(ramp(), cell_centres(30, 40, SIZE.extent))
    assert np.abs(view.rgb * 255 - ramp()).max() < 0.01
    assert view.seen.min() == 1


def test_shift_shows_the_shifted_picture_and_hides_the_rest() -> None:
    view = warp_picture(ramp(), cell_centres(30, 40, SIZE.extent) + np.array([10, 0]))
    assert np.abs(view.rgb[:, :29] * 255 - ramp()[:, 10:39]).max() < 0.01
    assert view.seen[:, :30].min() == 1
    assert view.seen[:, 30:].max() == 0
    assert (on_background(view, 1.0)[:, 30:] == 255).all()


def test_places_without_a_map_are_not_seen() -> None:
    points = cell_centres(30, 40, SIZE.extent)
    points[:5] = np.nan
    view = warp_picture(ramp(), points)
    assert view.seen[:5].max() == 0
    assert np.isfinite(view.rgb).all()


def test_strong_reduction_does_not_alias() -> None:
    stripes = np.zeros((400, 400, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    view = warp_picture(stripes, cell_centres(20, 20, np.array([400.0, 400.0])))
    assert np.abs(view.rgb - 0.5).max() < 0.05


@pytest.mark.parametrize(("height", "width"), [(60, 80), (7, 9), (1, 1)])
def test_resized_map_stays_linear_to_the_rim(height: int, width: int) -> None:
    resized = resized_map(cell_centres(15, 20, SIZE.extent), height, width)
    assert np.allclose(resized, cell_centres(height, width, SIZE.extent), atol=1e-4)


def test_resized_map_keeps_its_holes() -> None:
    points = cell_centres(10, 10, SIZE.extent)
    points[:5] = np.nan
    resized = resized_map(points, 20, 20)
    assert np.isnan(resized[:10]).all()
    assert np.isfinite(resized[10:]).all()


def test_average_counts_only_what_is_seen() -> None:
    light = Warped(np.ones((2, 2, 3), np.float32), np.array([[1, 1], [0, 0]], np.float32))
    dark = Warped(np.zeros((2, 2, 3), np.float32), np.array([[1, 0], [1, 0]], np.float32))
    mean = average([light, dark])
    assert mean.rgb[..., 0].tolist() == [[0.5, 1.0], [0.0, 0.0]]
    assert mean.seen.tolist() == [[1, 1], [1, 0]]


def test_fitted_keeps_the_aspect() -> None:
    assert fitted(ImageSize(400, 300), 256) == (192, 256)
    assert fitted(ImageSize(3, 1000), 256) == (256, 1)


def pairs(*keys: tuple[int, int]) -> PairwiseMaps:
    own = cell_centres(15, 20, SIZE.extent).astype(np.float32)
    return PairwiseMaps((SIZE,) * 3, dict.fromkeys(keys, own), {key: np.ones((15, 20)) for key in keys})


def test_frame_is_the_image_that_most_maps_start_from() -> None:
    assert frame_image(pairs((2, 0), (2, 1))) == 2
    assert frame_image(pairs((0, 1), (1, 0), (1, 2))) == 1
    assert frame_image(pairs((2, 0), (1, 0))) == 1
    assert frame_image(pairs(*[(i, j) for i in range(3) for j in range(3) if i != j])) == 0
    assert frame_image(pairs()) == 0


def test_one_way_maps_show_the_others_in_the_frame_of_their_source() -> None:
    dark, light = np.zeros_like(ramp()), np.full_like(ramp(), 200)
    views = congealed(pairs((2, 0)), [light, dark, ramp()], 40)
    assert np.abs(views[2].rgb * 255 - ramp()).max() < 0.01
    assert views[2].seen.min() == 1
    assert np.abs(views[0].rgb * 255 - 200).max() < 0.01
    assert views[0].seen.min() == 1
    assert views[1].seen.max() == 0


def test_shapes_are_seen_from_the_image_that_shows_the_most_of_them() -> None:
    shape = ball((0.0, 30.0), cells=(30, 40), texels=16)
    assert frame_image(shape) == 0
    faint = replace(shape, confidence=(shape.confidence[0] * 0.5, shape.confidence[1]))
    assert frame_image(faint) == 1
    light = np.full((BALL_SIZE.height, BALL_SIZE.width, 3), 200, dtype=np.uint8)
    views = congealed(faint, [light, light // 2], 40)
    assert views[0].rgb.shape == (30, 40, 3)
    assert views[1].seen.min() == 1
    # Where the other image shows the ball too its colour is seen, faded by the confidence of 0.75 of where it starts.
    assert views[0].seen.max() == pytest.approx(np.sqrt(0.75), abs=0.02)
    assert views[0].seen[0].max() == 0
    assert np.abs(views[0].rgb[views[0].seen > 0.5] * 255 - 200).max() < 1
