"""Edits against truth in closed form, and against the same rule place by place."""

import numpy as np
import numpy.typing as npt
import pytest

from alignment.atlas import Atlas
from alignment.dense import DenseMap
from alignment.edits import composite, propagate, reduction_factor
from alignment.edits_reference import propagate_by_points
from alignment.forms import Form
from alignment.layers import EmptyLayerError, Layer
from alignment.pairwise import NoAtlasError
from alignment.sampling import ImageSize, cell_centres
from tests.alignment.builders import SIZES, TO_IMAGE, affine_atlas, affine_pairs, apply, invert

UInt8 = npt.NDArray[np.uint8]
CENTRE = np.array([0.45, 0.55])
RADIUS = 0.12
RED = (220, 30, 40)


def disc(centre: npt.NDArray[np.float64], radius: float, size: ImageSize, colour: tuple[int, int, int] = RED) -> UInt8:
    """An opaque disc on a transparent layer; centre and radius in the layer's pixels."""
    distance = np.linalg.norm(cell_centres(size.height, size.width, size.extent) - centre, axis=-1)
    layer = np.zeros((size.height, size.width, 4), dtype=np.uint8)
    layer[..., :3] = colour
    layer[..., 3] = np.round(255 * np.clip(radius - distance + 0.5, 0, 1))
    return layer


def atlas_disc(side: int) -> Layer:
    return Layer(disc(CENTRE * side, RADIUS * side, ImageSize(side, side)))


def centroid(layer: UInt8, extent: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Centre of the paint in pixels of the whole image."""
    weight = layer[..., 3].astype(np.float64)
    centres = cell_centres(*layer.shape[:2], extent)
    found: npt.NDArray[np.float64] = np.average(centres.reshape(-1, 2), axis=0, weights=weight.ravel())
    return found


def area(layer: UInt8, extent: npt.NDArray[np.float64]) -> float:
    """Integral of alpha in square pixels of the whole image."""
    return float((layer[..., 3] / 255).mean() * extent.prod())


@pytest.mark.parametrize("side", [40, 256])
@pytest.mark.parametrize("index", range(len(SIZES)))
def test_a_disc_on_the_atlas_lands_on_every_image_with_its_size(side: int, index: int) -> None:
    painted = propagate(affine_atlas(), atlas_disc(side), source=None, target=index, size=SIZES[index])
    extent = SIZES[index].extent
    assert centroid(painted, extent) == pytest.approx(apply(TO_IMAGE[index], CENTRE), abs=0.1)
    true_area = np.pi * RADIUS**2 * abs(np.linalg.det(TO_IMAGE[index][:, :2]))
    assert area(painted, extent) == pytest.approx(true_area, rel=0.03)
    inside = painted[..., 3] > 200
    assert (np.abs(painted[inside, :3].astype(int) - RED) <= 1).all()


@pytest.mark.parametrize("form", [affine_atlas(64), affine_pairs()], ids=["atlas", "pairs"])
@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 0), (1, 2)])
def test_paint_on_one_image_appears_at_its_true_place_in_another(form: Form, source: int, target: int) -> None:
    # Image 1 is mirrored.
    place = apply(TO_IMAGE[source], CENTRE)
    layer = Layer(disc(place, 4.0, SIZES[source]))
    painted = propagate(form, layer, source=source, target=target, size=SIZES[target])
    assert centroid(painted, SIZES[target].extent) == pytest.approx(apply(TO_IMAGE[target], CENTRE), abs=0.2)
    scale = abs(np.linalg.det(TO_IMAGE[target][:, :2]) / np.linalg.det(TO_IMAGE[source][:, :2]))
    assert area(painted, SIZES[target].extent) == pytest.approx(np.pi * 16 * scale, rel=0.05)


def test_a_mirrored_image_gets_mirrored_paint() -> None:
    layer = np.zeros((64, 64, 4), dtype=np.uint8)
    layer[24:40, 16:32] = (255, 0, 0, 255)
    layer[24:40, 32:48] = (0, 0, 255, 255)
    for index, sign in ((0, 1), (1, -1)):
        painted = propagate(affine_atlas(), Layer(layer), source=None, target=index, size=SIZES[index])
        red, blue = (painted * (painted[..., [channel]] > 200) for channel in (0, 2))
        reached = centroid(blue, SIZES[index].extent)[0] - centroid(red, SIZES[index].extent)[0]
        assert reached * sign > 3


def test_the_image_that_was_painted_on_gets_its_own_paint() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (48, 64, 4), dtype=np.uint8)
    pixels[..., 3] |= 64
    for form in (affine_atlas(), affine_pairs()):
        painted = propagate(form, Layer(pixels), source=0, target=0, size=SIZES[0])
        flat = pixels.copy()
        flat[..., :3], flat[..., 3] = 90, 180
        same = propagate(form, Layer(flat), source=0, target=0, size=SIZES[0])
        assert (same == flat).all()
        assert painted.mean(axis=(0, 1)) == pytest.approx(pixels.mean(axis=(0, 1)), rel=0.1)


def test_paint_stays_off_places_without_a_map() -> None:
    atlas = affine_atlas()
    torn = atlas.to_canonical[0].copy()
    torn[8:16, 10:20] = np.nan
    holed = Atlas(atlas.images, (torn, *atlas.to_canonical[1:]), atlas.from_canonical, atlas.confidence)
    everywhere = Layer(np.full((16, 16, 4), 255, dtype=np.uint8))
    painted = propagate(holed, everywhere, source=None, target=0, size=SIZES[0])
    assert (painted[17:31, 21:39] == 0).all()
    assert painted[34, 30, 3] == 255
    centres = apply(invert(TO_IMAGE[0]), cell_centres(48, 64, SIZES[0].extent))
    beyond = ((centres < -0.06) | (centres > 1.06)).any(axis=-1)
    assert beyond.any()
    assert (painted[beyond] == 0).all()


@pytest.mark.parametrize("times", [4, 8])
def test_a_layer_that_shrinks_keeps_its_area_and_its_thin_strokes(times: int) -> None:
    side = 24 * times
    pixels = np.zeros((side, side, 4), dtype=np.uint8)
    # One pixel wide, straight and slanted.
    pixels[:, side // 3] = 255
    steps = np.arange(side)
    pixels[steps, (steps * 0.3 + side * 0.5).astype(int)] = 255
    painted = propagate(affine_atlas(), Layer(pixels), source=None, target=2, size=SIZES[2])
    true_area = float((pixels[..., 3] / 255).sum()) / side**2 * 24 * 24
    assert area(painted, SIZES[2].extent) == pytest.approx(true_area, rel=0.03)
    rows = painted[5:27, :, 3].sum(axis=1)
    assert rows.min() > 0.8 * rows.mean()


def test_a_layer_is_reduced_by_its_scale_on_the_target() -> None:
    atlas = affine_atlas()
    for side, expected in ((24, 1), (96, 2), (480, 10)):
        dense = DenseMap(atlas, source=2, target=None)
        assert reduction_factor(dense, (side, side), SIZES[2]) == expected
        assert reduction_factor(dense, (side, side), ImageSize(64, 64)) == max(1, expected // 2)


CASES: list[tuple[Form, int | None, int, bool]] = [
    (affine_atlas(), None, 1, False),
    (affine_atlas(), None, 0, True),
    (affine_atlas(64), 0, 1, False),
    (affine_atlas(64), 2, 0, True),
    (affine_pairs(), 0, 2, True),
]


@pytest.mark.parametrize(("form", "source", "target", "by_confidence"), CASES)
@pytest.mark.parametrize("magnified", [1, 6])
def test_the_fast_way_and_the_plain_way_agree(
    form: Form, source: int | None, target: int, by_confidence: bool, magnified: int
) -> None:
    base = ImageSize(24, 24) if source is None else SIZES[source]
    shape = (base.height * magnified, base.width * magnified, 4)
    pixels = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    pixels[: shape[0] // 4] = 0
    size = ImageSize(29, 23)
    dense = DenseMap(form, source=target, target=source)
    factor = reduction_factor(dense, (shape[1], shape[0]), size)
    fast = propagate(form, Layer(pixels), source=source, target=target, size=size, by_confidence=by_confidence)
    plain = propagate_by_points(
        form, pixels, source=source, target=target, size=size, factor=factor, by_confidence=by_confidence
    )
    premultiplied = fast / 255
    premultiplied[..., :3] *= premultiplied[..., 3:]
    assert plain[..., 3].max() > 0.2
    assert np.abs(premultiplied - plain).max() < 1.5 / 255


def test_opacity_and_confidence_thin_the_paint() -> None:
    form, layer = affine_atlas(), atlas_disc(64)
    whole = propagate(form, layer, source=None, target=0, size=SIZES[0])
    half = propagate(form, layer, source=None, target=0, size=SIZES[0], opacity=0.5)
    trusted = propagate(form, layer, source=None, target=0, size=SIZES[0], by_confidence=True)
    assert np.abs(half[..., 3] - whole[..., 3] * 0.5).max() <= 1
    assert np.abs(trusted[..., 3] - whole[..., 3] * 0.75).max() <= 1
    assert (whole[whole[..., 3] == 0] == 0).all()


@pytest.mark.parametrize(
    ("blend", "expected"), [("over", [200, 100, 0]), ("multiply", [78, 39, 0]), ("screen", [222, 161, 100])]
)
def test_paint_blends_with_the_picture(blend: str, expected: list[int]) -> None:
    picture = np.full((3, 4, 3), 100, dtype=np.uint8)
    layer = np.zeros((3, 4, 4), dtype=np.uint8)
    layer[1] = (200, 100, 0, 255)
    layer[2] = (200, 100, 0, 51)
    result = composite(picture, layer, blend)  # type: ignore[arg-type]
    assert (result[0] == 100).all()
    assert (result[1] == expected).all()
    assert np.abs(result[2] - (100 + 0.2 * (np.array(expected) - 100))).max() <= 0.5
    assert (picture == 100).all()


def test_a_layer_without_paint_is_refused() -> None:
    for pixels in (np.zeros((4, 4, 4), dtype=np.uint8), np.full((4, 4, 4), (9, 9, 9, 0), dtype=np.uint8)):
        with pytest.raises(EmptyLayerError, match="paint on it"):
            Layer(pixels)
    with pytest.raises(ValueError, match="uint8"):
        Layer(np.zeros((4, 4, 3), dtype=np.uint8))


def test_pairwise_maps_carry_nothing_from_an_atlas() -> None:
    with pytest.raises(NoAtlasError, match="name an image"):
        propagate(affine_pairs(), atlas_disc(16), source=None, target=0, size=SIZES[0])
