import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alignment.sampling import cell_centres, sample

EXTENT = np.array([40.0, 30.0])
PLACES = st.tuples(st.floats(0, 40), st.floats(0, 30))


def affine_field(height: int, width: int) -> np.ndarray:
    """A field (height, width, 2) that is affine in the place, so that bilinear reading must be exact."""
    return cell_centres(height, width, EXTENT) @ np.array([[2.0, 0.3], [-0.5, 1.0]]) + (3.0, -7.0)


@given(place=PLACES, height=st.integers(2, 9), width=st.integers(2, 9))
def test_affine_fields_are_read_exactly_up_to_the_border(place: tuple[float, float], height: int, width: int) -> None:
    point = np.array([place])
    expected = point @ np.array([[2.0, 0.3], [-0.5, 1.0]]) + (3.0, -7.0)
    assert sample(affine_field(height, width), point, EXTENT) == pytest.approx(expected, abs=1e-9)


def test_cell_centres_lie_half_a_cell_from_the_border() -> None:
    centres = cell_centres(3, 4, EXTENT)
    assert centres[0, 0] == pytest.approx((5.0, 5.0))
    assert centres[-1, -1] == pytest.approx((35.0, 25.0))


@pytest.mark.parametrize("point", [(-0.01, 5.0), (5.0, 30.01), (np.nan, 5.0)])
def test_places_outside_the_frame_have_no_value(point: tuple[float, float]) -> None:
    assert np.isnan(sample(affine_field(5, 5), np.array([point]), EXTENT)).all()


def test_a_hole_is_bridged_only_where_known_cells_hold_half_of_the_weight() -> None:
    field = np.ones((2, 2, 1))
    field[0, 0] = np.nan
    near, far = np.array([[30.0, 20.0]]), np.array([[12.0, 9.0]])
    assert sample(field, near, EXTENT) == pytest.approx(np.ones((1, 1)))
    assert np.isnan(sample(field, far, EXTENT)).all()


def test_a_single_cell_speaks_for_its_whole_frame() -> None:
    assert sample(np.full((1, 1, 1), 4.0), np.array([[1.0, 1.0], [39.0, 29.0]]), EXTENT) == pytest.approx(4.0)
