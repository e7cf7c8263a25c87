"""Dense maps and edits of shapes: right where they are blended, and nothing smeared where the shape ends or hides."""

import numpy as np
import numpy.typing as npt
import pytest

from alignment.camera import Camera
from alignment.dense import DenseMap, frame_extent, map_between, native_shape
from alignment.edits import propagate, reduction_factor
from alignment.edits_reference import propagate_by_points
from alignment.layers import Layer
from alignment.sampling import ImageSize, cell_centres
from alignment.shape import Shape
from tests.alignment.shapes import CELLS, SIZE, ball, ball_mesh, hits, on_ball, on_texture, shown
from tests.alignment.test_edits import centroid, disc

BALL = ball()
SMALL = ball(cells=(60, 80), texels=64)
WAYS = [(0, 1), (1, None), (None, 0)]


@pytest.mark.parametrize(("source", "target"), WAYS)
def test_a_map_is_the_transfer_of_every_cell(source: int | None, target: int | None) -> None:
    dense = DenseMap(BALL, source=source, target=target)
    x, y = np.linspace(0, dense.source_extent[0], 157), np.linspace(0, dense.source_extent[1], 131)
    carried = BALL.transfer(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2), source=source, target=target)
    places = dense.at_crossings(x, y)
    is_there = np.isfinite(places[..., 0].ravel())
    assert is_there.sum() > 1000
    assert (is_there != np.isfinite(carried.points[:, 0])).mean() < 0.001
    off = np.abs(places.reshape(-1, 2) - carried.points)[is_there] / dense.target_extent
    assert np.nanpercentile(off, 90) < 0.0005
    assert np.nanpercentile(off, 99) < 0.003
    trust = dense.confidence(x, y, places).ravel()
    assert np.percentile(np.abs(trust - carried.confidence), 99) < 0.05
    assert (trust[~is_there] == 0).all()


def test_maps_have_the_grid_of_their_source() -> None:
    assert native_shape(BALL, 0) == CELLS
    assert native_shape(BALL, None) == (128, 128)
    assert frame_extent(BALL, None).tolist() == [1, 1]
    found = map_between(BALL, source=0, target=None)
    camera = BALL.cameras[0]
    assert camera is not None
    truth = on_texture(hits(camera, cell_centres(*CELLS, SIZE.extent)))
    off = np.abs(found.places - truth)
    assert found.places.shape == (*CELLS, 2)
    assert np.nanpercentile(np.minimum(off, 1 - off), 95) < 0.005
    assert found.confidence.dtype == np.float16
    own = map_between(BALL, source=1, target=1)
    assert own.places[0, 0] == pytest.approx([1, 1])


def two_plates() -> Shape:
    """Two plates, one behind the other; the first image shows them side by side, the second with a gap between."""
    size, cells = ImageSize(80, 40), (40, 80)
    centres = cell_centres(*cells, size.extent)
    across, down = centres[..., 0] / 100, centres[..., 1] / 100 - 0.2
    first = np.where(across[..., None] < 0.4, _plate(across - 0.4, down, 0.3), _plate(across - 0.4, down, -0.3))
    second = np.full_like(first, np.nan)
    second[:, :30] = _plate(across - 0.4, down, 0.3)[:, 10:40]
    second[:, 50:] = _plate(across - 0.4, down, -0.3)[:, 40:70]
    mesh, camera = ball_mesh(4, 8), Camera(np.eye(4), 40.0)
    trust = np.ones(cells)
    fields = tuple(each.astype(np.float32) for each in (first, second))
    return Shape((size,) * 2, mesh, (camera,) * 2, fields, (trust,) * 2, fields[0])


def _plate(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], z: float) -> npt.NDArray[np.float64]:
    return np.stack([x, y, np.full_like(x, z)], axis=-1)


def test_nothing_is_smeared_over_a_jump_in_depth() -> None:
    plates = two_plates()
    dense = DenseMap(plates, source=0, target=1)
    x, y = np.linspace(30, 50, 401), np.linspace(5, 35, 61)
    reached = dense.at_crossings(x, y)[..., 0]
    assert np.isfinite(reached).mean() > 0.9
    # The gap begins after the last cell of the one plate and ends before the first of the other.
    assert not ((reached > 30.01) & (reached < 49.99)).any()
    everywhere = Layer(np.full((40, 80, 4), 255, dtype=np.uint8))
    painted = propagate(plates, everywhere, source=0, target=1, size=plates.images[1])
    assert (painted[2:-2, 32:48] == 0).all()
    assert (painted[2:-2, 2:28, 3] == 255).all()


def test_paint_on_the_texture_appears_in_all_images_that_show_it() -> None:
    centre = np.array([0.95, 0.45])
    layer = Layer(disc(centre * 256, 8.0, ImageSize(256, 256)))
    point = on_ball(centre)
    for index, camera in enumerate(BALL.cameras):
        assert camera is not None
        painted = propagate(BALL, layer, source=None, target=index, size=SIZE)
        if shown(camera, point[None])[0]:
            assert centroid(painted, SIZE.extent) == pytest.approx(camera.project(point[None], SIZE)[0][0], abs=1.5)
        else:
            assert not painted.any()
    assert [bool(shown(camera, point[None])[0]) for camera in BALL.cameras if camera] == [True, True, False]


def test_paint_on_one_image_appears_in_the_others_that_show_the_place() -> None:
    first, second, _ = BALL.cameras
    assert first is not None
    assert second is not None
    point = hits(first, np.array([[180.0, 140.0]]))
    layer = Layer(disc(np.array([180.0, 140.0]), 6.0, SIZE))
    painted = propagate(BALL, layer, source=0, target=1, size=SIZE)
    assert centroid(painted, SIZE.extent) == pytest.approx(second.project(point, SIZE)[0][0], abs=1.0)
    assert not propagate(BALL, layer, source=0, target=2, size=SIZE).any()
    own = propagate(BALL, layer, source=0, target=0, size=SIZE)
    assert centroid(own, SIZE.extent) == pytest.approx([180, 140], abs=0.1)


@pytest.mark.parametrize(("source", "by_confidence"), [(None, False), (None, True), (1, True)])
def test_the_fast_way_and_the_plain_way_agree(source: int | None, by_confidence: bool) -> None:
    base = ImageSize(96, 96) if source is None else SIZE
    y, x = np.mgrid[: base.height, : base.width]
    waves = [np.sin(x / 9), np.cos(y / 8), np.sin((x + y) / 10), np.cos((x - y) / 12)]
    pixels = np.round(127 + 120 * np.stack(waves, axis=-1)).astype(np.uint8)
    size = ImageSize(48, 36)
    factor = reduction_factor(DenseMap(SMALL, source=0, target=source), (base.width, base.height), size)
    fast = propagate(SMALL, Layer(pixels), source=source, target=0, size=size, by_confidence=by_confidence)
    plain = propagate_by_points(
        SMALL, pixels, source=source, target=0, size=size, factor=factor, by_confidence=by_confidence
    )
    premultiplied = fast / 255
    premultiplied[..., :3] *= premultiplied[..., 3:]
    off = np.abs(premultiplied - plain).max(axis=2)
    assert plain[..., 3].max() > 0.2
    assert np.percentile(off, 95) < 3 / 255
    assert off.mean() < 1 / 255


def test_layers_on_the_texture_are_reduced_by_their_scale_between_its_seams() -> None:
    camera = BALL.cameras[0]
    assert camera is not None
    dense = DenseMap(BALL, source=0, target=None)
    assert dense.has_seams
    assert not DenseMap(BALL, source=0, target=1).has_seams
    # Near the middle of the image a pixel is about 1 / 190 of space, and a texel 2 pi 0.5 / side.
    assert reduction_factor(dense, (256, 256), SIZE) == 1
    assert reduction_factor(dense, (4096, 4096), SIZE) == pytest.approx(4, abs=1)
