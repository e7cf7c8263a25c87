import numpy as np
import pytest

from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize
from workers.rendering.asked_points import asked_points
from workers.rendering.points import grid_colours, point_colours

SIZE = ImageSize(200, 100)
ASKED = np.array([[150, 20], [40, 50], [90, 80]], dtype=np.float32)
Pairs = dict[tuple[int, int], np.ndarray]


def rows(start: np.ndarray, end: np.ndarray, confidence: float = 1.0) -> np.ndarray:
    return np.column_stack([start, end, np.full(len(start), confidence)]).astype(np.float32)


def form(points: Pairs, count: int = 3) -> PairwiseMaps:
    return PairwiseMaps((SIZE,) * count, {}, {}, points)


def test_points_of_all_targets_are_gathered_in_their_order() -> None:
    moved = ASKED + 3
    asked = asked_points(form({(0, 1): rows(ASKED[:2], moved[:2], 0.5), (0, 2): rows(ASKED[1:], moved[1:])}))
    assert asked.source == 0
    assert (asked.points == ASKED).all()
    assert (asked.found[1][:2] == np.column_stack([moved[:2], [0.5, 0.5]])).all()
    assert np.isnan(asked.found[1][2]).all()
    assert np.isnan(asked.found[2][0]).all()
    assert (asked.colours == point_colours(3)).all()


def test_first_image_that_was_asked_is_taken() -> None:
    pairs = {(2, 0): rows(ASKED, ASKED + 1), (1, 0): rows(ASKED[:1], ASKED[:1] + 1)}
    assert asked_points(form(pairs)).source == 1


@pytest.mark.parametrize("off", [0.5, np.nan])
def test_ways_back_are_not_asked_points(off: float) -> None:
    found = ASKED + 7
    asked = asked_points(form({(0, 1): rows(found, ASKED + off), (1, 0): rows(ASKED, found)}))
    assert asked.source == 1
    assert (asked.points == ASKED).all()


def test_ways_back_among_asked_points_are_left_out() -> None:
    own, found = np.array([[11, 12]], dtype=np.float32), ASKED + 7
    there = np.concatenate([rows(own, own + 30), rows(found, ASKED + 0.5)])
    asked = asked_points(form({(0, 1): there, (1, 0): np.concatenate([rows(ASKED, found), rows(own + 30, own + 1)])}))
    assert asked.source == 0
    assert (asked.points == own).all()


def test_where_every_way_back_is_exact_the_most_points_win() -> None:
    found = ASKED + 7
    pairs = {
        (0, 1): rows(found, ASKED),
        (1, 0): rows(ASKED, found),
        (1, 2): rows(ASKED, found),
        (2, 1): rows(found, ASKED),
    }
    asked = asked_points(form(pairs))
    assert asked.source == 1
    assert (asked.points == ASKED).all()
    assert asked_points(form({(0, 1): rows(found, ASKED), (1, 0): rows(ASKED, found)})).source == 0


def test_many_points_are_coloured_by_place() -> None:
    many = np.random.default_rng(0).uniform(0, 100, (60, 2)).astype(np.float32)
    asked = asked_points(form({(0, 1): rows(many, many)}))
    assert (asked.colours == grid_colours(many, (200, 100))).all()


def test_result_without_points_is_refused() -> None:
    with pytest.raises(ValueError, match="no queried points"):
        asked_points(form({(0, 1): np.zeros((0, 5), dtype=np.float32)}))


def test_each_point_has_its_colour_where_it_was_asked_and_where_it_was_found() -> None:
    asked = asked_points(form({(0, 1): rows(ASKED, ASKED[:, ::-1].copy().clip(0, 100))}))
    grey = np.full((100, 200, 3), 128, dtype=np.uint8)
    drawn = [asked.drawn_on(grey, index, 200) for index in range(3)]
    for colour, (x, y) in zip(asked.colours, ASKED.astype(int), strict=True):
        assert (drawn[0][y, x] == colour).all()
    assert (drawn[1][40, 50] == asked.colours[1]).all()
    assert (drawn[2] == grey).all()
