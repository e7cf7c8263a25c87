"""What the benchmark of ASIC reports, against published scores and against the same computed otherwise."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from alignment.sampling import ImageSize
from alignment.scores import pck
from benchmarks.asic.__main__ import summary
from benchmarks.asic.analytic import S8Row, annotated_set, scored, splines, whole_pixels
from benchmarks.asic.cost import JobCost
from benchmarks.asic.official import PUBLISHED, OfficialRun, official_data, official_options, official_row
from benchmarks.asic.real import annotated_photographs, box_mask, masked
from benchmarks.asic.scoring import Consistency, consistency, copied_boxes, copied_places
from benchmarks.asic.synthetic import SyntheticRow
from benchmarks.photographs import PhotographSet, box_copy
from workers.evaluation.analytic_set import AnalyticSet, analytic_set
from workers.methods.asic.network.canonical import identity
from workers.methods.asic.network.transfer import from_canonical, to_canonical
from workers.methods.base import InputImage


@pytest.fixture(scope="module")
def drawn() -> AnalyticSet:
    return analytic_set(64)


def figures(row: S8Row) -> list[list[float]]:
    return [row.pairs, row.two_cycles, row.three_cycles]


def test_true_maps_score_what_was_published(drawn: AnalyticSet) -> None:
    row = scored(drawn, "true", whole_pixels(drawn, torch.from_numpy(drawn.canonical)))
    assert figures(row) == [[100, 100, 91.9], [100, 100, 98.5], [100, 100, 93.1]]


def test_the_untrained_network_scores_what_was_published(drawn: AnalyticSet) -> None:
    row = official_row(drawn, identity(64).expand(8, -1, -1, -1), "untrained", 0)
    assert figures(row) == [[42.1, 13.2, 1.3], [96.5, 93.8, 88.6], [94.2, 90.6, 83.1]]


def test_pixels_go_where_the_official_transfer_takes_them(drawn: AnalyticSet) -> None:
    flows = torch.from_numpy(drawn.canonical[:2]).float()
    form = whole_pixels(replace(drawn, masks=drawn.masks[:2]), flows, official=True)
    for i, j in ((0, 1), (1, 0)):
        pixels = torch.from_numpy(drawn.keypoints[i])[None]
        places = to_canonical(flows[i : i + 1], pixels.float())
        expected = from_canonical(flows[j : j + 1], places, torch.from_numpy(drawn.masks[j : j + 1]).float())
        found = form.transfer(drawn.keypoints[i] + 0.5, source=i, target=j).points
        np.testing.assert_allclose(found, expected[0] + 0.5, atol=1e-4)


def test_the_default_keeps_the_matches_that_are_right(drawn: AnalyticSet) -> None:
    row = splines(drawn, 0.8, repeats=1)
    assert row.inliers == pytest.approx(20, abs=3)
    assert row.kept == pytest.approx(row.inliers, abs=3)
    assert row.pairs[1] >= 99
    assert row.pairs[2] > PUBLISHED.pairs[2]


def test_the_official_settings_are_those_of_the_published_run() -> None:
    options = official_options(7)
    assert (options.compat, options.iterations, options.batch, options.width) == (True, 7, 8, 0.25)
    assert (options.image_size, options.unwarp_size, options.grid_size) == (64, 32, 64)
    assert options.weights.total_variation == 937.5
    assert options.temperature == 1


def test_the_official_training_reads_the_set_as_it_is_drawn(drawn: AnalyticSet) -> None:
    data = official_data(drawn, official_options(1))
    np.testing.assert_allclose(data.pictures, drawn.pictures.transpose(0, 3, 1, 2), atol=1e-5)
    assert (data.labels.numpy() == drawn.parts).all()
    assert (data.masks.numpy() == drawn.masks).all()
    given = sum(len(pair.true) for pair in drawn.matches(0.2).values())
    assert (int(data.visible.sum()), data.parts_count, data.start) == (2 * given, 5, None)


@pytest.mark.parametrize(("iterations", "measured"), [(20, False), (400, True)])
def test_only_the_whole_training_counts_as_measured(iterations: int, measured: bool) -> None:
    assert OfficialRun(PUBLISHED, iterations, 1.0).measured is measured


def test_the_summary_names_what_is_compared() -> None:
    rows = [
        S8Row("few outliers", [100, 99, 90], [], [], cpu_s=1.5, kept=80, inliers=79.5),
        S8Row("many outliers", [98, 97, 80], [], [], cpu_s=2.5, kept=22, inliers=20),
    ]
    lost = SyntheticRow("fish", 3, "asic", Consistency(60, {4: 57.5}, {4: 50}))
    found = json.loads(json.dumps(summary(rows, OfficialRun(PUBLISHED, 20, 500), [lost], [], JobCost(9, 8, 1, 0.5))))
    assert (found["s8"], found["s8_outliers"], found["cpu_s"]) == ([100, 99, 90], [98, 97, 80], 1.5)
    assert (found["cpu_s_official"], found["cpu_s_official_is_extrapolated"]) == (500, True)
    assert (found["kept_minus_inliers"], found["four_cycle_minus_pck"]) == (2, {"fish": -2.5})
    assert (found["job_s"], found["job_wall_s"], found["job_peak_gb"]) == (9, 8, 0.5)


def photographs() -> PhotographSet:
    draw = np.random.default_rng(0)
    images, keypoints, boxes = [], [], []
    for number, (width, height) in enumerate(((60, 40), (50, 70), (40, 40))):
        images.append(InputImage(str(number), draw.integers(0, 255, (height, width, 3), dtype=np.uint8)))
        boxes.append(np.array([3.0 * number, 5, width - 7, height - 4]))
        visible = draw.random((12, 1)) < 0.8
        places = boxes[-1][:2] + draw.uniform(0, 1, (12, 2)) * (boxes[-1][2:] - boxes[-1][:2])
        keypoints.append(np.concatenate([places, visible], axis=1))
    return PhotographSet("noise", images, keypoints, boxes)


def test_copied_boxes_score_as_the_same_without_any_maps() -> None:
    given = photographs()
    sizes = [ImageSize(image.width, image.height) for image in given.images]
    found = consistency(copied_boxes(sizes, given.boxes), annotated_photographs(given), [3])
    assert 0 < found.pairs < 100
    assert found.pairs == round(100 * box_copy(given), 1)
    assert found.returned[3] == 100
    assert found.pairs < found.pooled[3] < 100


def test_masks_are_the_boxes() -> None:
    given = photographs()
    mask = masked(given)[1].mask
    assert mask is not None
    assert mask.shape == (70, 50)
    assert set(mask[5:66, 3:43].ravel()) == {255}
    assert int(mask.astype(int).sum()) == 255 * 61 * 40
    beyond = box_mask(given.images[2], np.array([-3.5, 10.2, 99, 11.9]))
    assert np.argwhere(beyond).tolist() == [[row, column] for row in (10, 11) for column in range(40)]


def test_copied_places_close_all_cycles_and_align_little(drawn: AnalyticSet) -> None:
    form, annotated = copied_places([ImageSize(64, 64)] * 8), annotated_set(drawn)
    score = pck(form, annotated, [0.1]).scores[0]
    assert score.per_point == score.identity < 0.5
    assert consistency(form, annotated).returned == {2: 100, 3: 100, 4: 100}


def test_keypoints_of_the_analytic_set_lie_at_pixel_centres(drawn: AnalyticSet) -> None:
    known = annotated_set(drawn)
    assert known.keys() == set(range(8))
    assert {image.side_px for image in known.values()} == {64}
    assert known[0].keypoints[0].tolist() == [25.5, 22.5, 1]
