import numpy as np
import pytest

from alignment.pairwise import NoAtlasError
from tests.alignment.builders import SIZES, TO_IMAGE, affine_atlas, affine_pairs, apply, invert

CANONICAL = np.array([[0.2, 0.3], [0.5, 0.5], [0.9, 0.1], [0.7, 0.8]])


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 0), (2, 1), (0, 0)])
def test_points_go_from_image_to_image_by_way_of_the_atlas(source: int, target: int) -> None:
    answer = affine_atlas().transfer(apply(TO_IMAGE[source], CANONICAL), source=source, target=target)
    assert answer.points == pytest.approx(apply(TO_IMAGE[target], CANONICAL), abs=1e-3)
    assert answer.confidence == pytest.approx(0.75)
    assert answer.inside.all()


def test_points_go_to_the_atlas_and_back() -> None:
    atlas = affine_atlas()
    there = atlas.transfer(apply(TO_IMAGE[1], CANONICAL), source=1, target=None)
    assert there.points == pytest.approx(CANONICAL, abs=1e-5)
    back = atlas.transfer(there.points, source=None, target=1)
    assert back.points == pytest.approx(apply(TO_IMAGE[1], CANONICAL), abs=1e-3)


def test_a_point_off_the_object_or_off_the_image_has_no_correspondence() -> None:
    answer = affine_atlas().transfer(np.array([[1.0, 1.0], [-5.0, 3.0]]), source=0, target=1)
    assert np.isnan(answer.points).all()
    assert (answer.confidence == 0).all()
    assert not answer.inside.any()


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 2), (2, 2)])
def test_pairwise_maps_carry_points_directly(source: int, target: int) -> None:
    answer = affine_pairs().transfer(apply(TO_IMAGE[source], CANONICAL), source=source, target=target)
    assert answer.points == pytest.approx(apply(TO_IMAGE[target], CANONICAL), abs=1e-3)


def test_a_carried_point_may_leave_the_target_frame() -> None:
    corner = np.array([[0.5, 0.5]])
    expected = apply(TO_IMAGE[2], apply(invert(TO_IMAGE[0]), corner))
    answer = affine_pairs().transfer(corner, source=0, target=2)
    assert answer.points == pytest.approx(expected, abs=1e-3)
    assert not answer.inside[0]
    assert (expected < 0).any() or (expected > SIZES[2].extent).any()


def test_pairwise_maps_have_no_atlas() -> None:
    with pytest.raises(NoAtlasError, match="name an image"):
        affine_pairs().transfer(CANONICAL, source=None, target=0)
