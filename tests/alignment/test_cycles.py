from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from alignment.cycles import MAX_CYCLES, cycle_pck, drawn_cycles
from alignment.forms import Form
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize, cell_centres
from alignment.scores import AnnotatedImage
from tests.alignment.builders import TO_IMAGE, affine_atlas, affine_pairs, apply
from tests.alignment.test_scores import annotated

ALPHAS = [0.2, 0.1, 0.05]


def shaken_pairs(count: int) -> PairwiseMaps:
    """Maps that miss by a few pixels, differently for each pair, and know nothing of one corner."""
    draw, maps = np.random.default_rng(1), {}
    for pair in permutations(range(count), 2):
        maps[pair] = (cell_centres(8, 8, np.array([40.0, 40.0])) + draw.normal(0, 3, (8, 8, 2))).astype(np.float32)
        maps[pair][:2, :2] = np.nan
    return PairwiseMaps((ImageSize(40, 40),) * count, maps, {pair: np.ones((8, 8)) for pair in maps})


def known(count: int) -> dict[int, AnnotatedImage]:
    draw = np.random.default_rng(2)
    places = draw.uniform(4, 36, (6, 2))
    return {
        index: AnnotatedImage(np.column_stack([places, draw.random(6) > 0.2]), side_px=20.0 + 10 * index)
        for index in range(count)
    }


def one_by_one(form: Form, truth: dict[int, AnnotatedImage], alpha: float, length: int) -> tuple[float, float]:
    returned, pooled = [], []
    for way in permutations(truth, length):
        for k in range(6):
            point, visible = truth[way[0]].keypoints[k, :2], truth[way[0]].keypoints[k, 2] > 0
            right = False
            for before, after in zip(way, (*way[1:], way[0]), strict=True):
                if np.isfinite(point).all():
                    point = form.transfer(point[None], source=before, target=after).points[0]
                visible = visible and truth[after].keypoints[k, 2] > 0
                right = bool(np.linalg.norm(point - truth[after].keypoints[k, :2]) <= alpha * truth[after].side_px)
                if visible:
                    pooled.append(right)
            if visible:
                returned.append(right)
    return float(np.mean(returned)), float(np.mean(pooled))


@pytest.mark.parametrize("length", [2, 3, 4])
def test_scores_are_those_of_carrying_point_after_point(length: int) -> None:
    form, truth = shaken_pairs(4), known(4)
    report = cycle_pck(form, truth, ALPHAS, length)
    expected = [one_by_one(form, truth, alpha, length) for alpha in ALPHAS]
    np.testing.assert_allclose([(score.returned, score.pooled) for score in report.scores], expected)
    assert 0 < report.scores[1].returned < 1
    assert report.cycles == {2: 12, 3: 24, 4: 24}[length]


def test_an_atlas_closes_its_cycles_even_where_it_is_wrong() -> None:
    shifted = annotated(shift_px=2.0)
    report = cycle_pck(affine_atlas(), shifted, [0.05], 3)
    assert report.scores[0].returned > 0.99
    assert report.scores[0].pooled < 0.9


def test_many_cycles_are_drawn_alike_and_different() -> None:
    images = list(range(3, 23))
    drawn = drawn_cycles(images, 4)
    assert drawn.shape == (MAX_CYCLES, 5)
    assert len({tuple(way) for way in drawn.tolist()}) == MAX_CYCLES
    assert all(len(set(way)) == 4 and way[0] == way[-1] and set(way) <= set(images) for way in drawn.tolist())
    assert (drawn == drawn_cycles(images, 4)).all()


def test_nothing_visible_on_the_way_scores_nothing() -> None:
    truth = annotated()
    for image in truth.values():
        image.keypoints[:, 2] = 0
    report = cycle_pck(affine_atlas(), truth, [0.1], 2)
    assert (report.points, report.scores[0].returned, report.scores[0].pooled) == (0, 0.0, 0.0)


def test_cycles_without_a_map_on_the_way_do_not_count() -> None:
    whole = affine_pairs()
    kept = {pair: whole.maps[pair] for pair in [(0, 2), (2, 0), (1, 0)]}
    some = replace(whole, maps=kept, confidence={pair: whole.confidence[pair] for pair in kept})
    keypoints = [np.array([[*place, 1.0]]) for place in (apply(matrix, np.array([0.5, 0.5])) for matrix in TO_IMAGE)]
    known = {index: AnnotatedImage(points, 50.0) for index, points in enumerate(keypoints)}
    there_and_back = cycle_pck(some, known, [0.1], 2)
    assert (there_and_back.cycles, there_and_back.points) == (2, 2)
    assert there_and_back.scores[0].returned == 1
    around = cycle_pck(some, known, [0.1], 3)
    assert (around.cycles, around.points, around.scores[0].returned) == (0, 0, 0)
