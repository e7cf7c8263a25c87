"""Dense reading gives what point-wise reading gives."""

import numpy as np
import numpy.typing as npt
import pytest

from alignment.dense import DenseMap, map_between
from alignment.dense_field import DenseField
from alignment.forms import Form
from alignment.pairwise import NoAtlasError
from alignment.sampling import sample
from tests.alignment.builders import SIZES, affine_atlas, affine_pairs

EXTENT = np.array([60.0, 40.0])
CASES: list[tuple[Form, int | None, int | None]] = [
    (affine_atlas(), 0, 1),
    (affine_atlas(), 1, None),
    (affine_atlas(), None, 2),
    (affine_pairs(), 2, 0),
]


def torn_field(shape: tuple[int, int], channels: int = 2) -> npt.NDArray[np.float32]:
    """A wavy field with holes of many shapes."""
    rng = np.random.default_rng(5)
    field = rng.normal(size=(*shape, channels)).astype(np.float32)
    field[rng.random(shape) < 0.3] = np.nan
    field[: shape[0] // 3, : shape[1] // 3] = np.nan
    return field


@pytest.mark.parametrize("shape", [(13, 17), (1, 9), (9, 1), (1, 1), (2, 2)])
@pytest.mark.parametrize("torn", [True, False])
def test_a_field_is_read_as_sample_reads_it(shape: tuple[int, int], torn: bool) -> None:
    field = torn_field(shape)
    if not torn:
        field = np.nan_to_num(field, nan=0.25)
    # Places on the frame's border, beyond it, at centres of cells and between.
    x = np.concatenate([[-0.1, 0.0, 60.0, 60.1], np.linspace(0.5, 59.5, 97)])
    y = np.concatenate([[-0.1, 0.0, 40.0, 40.1], np.linspace(0.3, 39.9, 71)])
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    expected = sample(field, points, EXTENT)
    dense = DenseField(field, EXTENT)
    assert np.isnan(expected).any()
    assert np.isfinite(expected).any()
    crossings = dense.at_crossings(x, y).reshape(-1, 2)
    assert crossings == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert dense.at(points) == pytest.approx(expected, abs=1e-5, nan_ok=True)
    assert np.isnan(dense.at(np.array([[np.nan, 3.0]]))).all()


@pytest.mark.parametrize(("form", "source", "target"), CASES)
def test_a_map_is_the_transfer_of_every_cell(form: Form, source: int | None, target: int | None) -> None:
    dense = DenseMap(form, source=source, target=target)
    x, y = np.linspace(0, dense.source_extent[0], 37), np.linspace(0, dense.source_extent[1], 29)
    points = np.stack(np.meshgrid(x, y), axis=-1)
    carried = form.transfer(points.reshape(-1, 2), source=source, target=target)
    places = dense.at_crossings(x, y)
    assert np.isfinite(carried.points).any()
    assert places.reshape(-1, 2) == pytest.approx(carried.points, abs=1e-4, nan_ok=True)
    confidence = dense.confidence(x, y, places)
    assert confidence.ravel() == pytest.approx(carried.confidence, abs=1e-5)


def test_on_the_sources_own_grid_stored_values_come_back_as_they_are() -> None:
    atlas, pairs = affine_atlas(), affine_pairs()
    for found, stored, confidence in (
        (map_between(atlas, source=0, target=None), atlas.to_canonical[0], 0.75),
        (map_between(pairs, source=1, target=2), pairs.maps[1, 2], 0.5),
        (map_between(atlas, source=None, target=1), atlas.from_canonical[1], 0.75),
    ):
        assert found.places.dtype == np.float32
        assert np.array_equal(found.places, stored, equal_nan=True)
        assert found.confidence.dtype == np.float16
        has_place = np.isfinite(stored[..., 0])
        assert (found.confidence[~has_place] == 0).all()
        assert np.isin(found.confidence, [0, confidence]).all()


def test_a_map_can_have_any_number_of_cells() -> None:
    atlas = affine_atlas()
    found = map_between(atlas, source=0, target=1, shape=(30, 40))
    middle = (np.array([[20.5, 15.5]]) / (40, 30)) * SIZES[0].extent
    expected = atlas.transfer(middle, source=0, target=1).points[0]
    assert found.places.shape == (30, 40, 2)
    assert found.places.flags.c_contiguous
    assert found.places[15, 20] == pytest.approx(expected, abs=1e-4)


def test_a_frame_is_mapped_to_itself_by_the_identity() -> None:
    found = map_between(affine_pairs(), source=0, target=0)
    assert found.places[0, 0] == pytest.approx([1.0, 1.0])
    assert found.places[-1, -1] == pytest.approx([63.0, 47.0])
    assert (found.confidence == 1).all()


def test_pairwise_maps_have_no_atlas() -> None:
    for source, target in ((None, 0), (0, None)):
        with pytest.raises(NoAtlasError, match="name an image"):
            map_between(affine_pairs(), source=source, target=target)
