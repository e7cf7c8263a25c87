"""The whole search on pictures whose poses are known; T1, T2, T6, T7 and T8 of the method's checks, in small."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import interpolate, normalize

from tests.workers.methods.congealing_3d.photographs import (
    FEW,
    bank_of,
    cell_masks,
    errors_deg,
    observed,
    reader_of,
    shuffled,
)
from workers.evaluation.procedural_shapes import animal, bench
from workers.evaluation.shape_set import ShapeSet, drawn_set
from workers.methods.congealing_3d.pose import search
from workers.methods.congealing_3d.pose.bank import Bank, SurfaceReader
from workers.methods.congealing_3d.pose.grid import tight_windows
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.pose.placement import in_pictures, placed
from workers.methods.congealing_3d.pose.scoring import fit_scores
from workers.methods.congealing_3d.pose.search import FoundPoses, SearchOptions, find_poses
from workers.run_context import JobCanceled

GRID_ONLY = SearchOptions(hypotheses=1, refine=False, collective=False)


@pytest.fixture(scope="module")
def found(seen: Observations, bank: Bank, reader: SurfaceReader) -> FoundPoses:
    return find_poses(seen, bank, reader, SearchOptions(hypotheses=2), seed=0)


def bench_poses(asymmetry: float, count: int, options: SearchOptions) -> tuple[ShapeSet, FoundPoses]:
    shape = bench(asymmetry)
    reader = reader_of(shape)
    bank = bank_of(reader, FEW)
    made = drawn_set([shape], count, 3, size=(192, 160), look="places")
    return made, find_poses(observed(made, bank), bank, reader, options, seed=0)


@pytest.mark.parametrize(("masked", "median"), [(False, 12), (True, 10)])
def test_the_best_candidates_are_near(
    seen: Observations,
    bank: Bank,
    made: ShapeSet,
    masked: bool,
    median: float,
) -> None:
    best = fit_scores(seen.features, cell_masks(seen) if masked else None, bank).argmax(dim=1)
    errors = errors_deg(placed(bank.grid.cameras[best], bank.windows[best], seen.windows), made.cameras)
    assert errors.median() < median
    assert errors.max() < 30
    assert (errors < 15).float().mean() >= 0.8


def test_the_whole_search_finds_the_poses(found: FoundPoses, made: ShapeSet) -> None:
    errors = errors_deg(found.best, made.cameras)
    assert errors.median() < 3
    assert errors.max() < 6
    aside = (found.best.translation - made.cameras.translation)[:, :2].norm(dim=1)
    assert aside.max() < 0.03
    assert not found.by_chance.any()
    assert not found.ambiguous.any()


def test_poses_of_an_image_are_listed_best_first_with_their_figures(found: FoundPoses) -> None:
    count, each = found.scores.shape
    assert count == 6
    assert 2 <= each <= 4
    assert len(found.cameras) == count * each
    assert (found.scores[:, :-1] >= found.scores[:, 1:]).all()
    assert found.ious is not None
    exists = torch.isfinite(found.scores)
    for figures in (found.fits, found.ious):
        assert torch.equal(torch.isfinite(figures), exists)
        assert figures[exists].max() <= 1
    assert found.ious[:, 0].min() > 0.8
    assert torch.equal(found.best.rotation, found.cameras.rotation.view(count, each, 3, 3)[:, 0])


def test_refined_poses_fit_better_than_candidates(
    found: FoundPoses, seen: Observations, bank: Bank, reader: SurfaceReader
) -> None:
    plain = find_poses(seen, bank, reader, GRID_ONLY, seed=0)
    assert plain.scores.shape == (6, 1)
    assert (found.fits[:, 0] > plain.fits[:, 0]).all()
    assert torch.equal(plain.grid_scores, found.grid_scores)
    best = fit_scores(seen.features, cell_masks(seen), bank).argmax(dim=1)
    cameras, windows = in_pictures(bank.grid.cameras[best], bank.windows[best], seen.aspect)
    there = placed(cameras, windows, seen.windows)
    torch.testing.assert_close(plain.best.translation, there.translation)


def test_other_instances_of_the_kind_get_poses_too(bank: Bank, reader: SurfaceReader) -> None:
    made = drawn_set([animal(number, 0.5) for number in (1, 2, 3)], 6, 3, size=(192, 160), look="places")
    found = find_poses(observed(made, bank, noise=0.2), bank, reader, SearchOptions(hypotheses=2), seed=0)
    errors = errors_deg(found.best, made.cameras)
    assert errors.median() < 4
    assert errors.max() < 10


def test_pictures_in_disorder_have_poses_by_chance_only(seen: Observations, bank: Bank, reader: SurfaceReader) -> None:
    nonsense = find_poses(shuffled(seen), bank, reader, GRID_ONLY, seed=0)
    assert nonsense.by_chance.sum() >= 4
    assert len(nonsense.best) == 6


def test_without_masks_poses_rest_on_features(made: ShapeSet, bank: Bank, reader: SurfaceReader) -> None:
    found = find_poses(observed(made, bank, masked=False)[:3], bank, reader, SearchOptions(hypotheses=2), seed=0)
    assert found.ious is None
    assert not found.by_chance.any()
    assert errors_deg(found.best, made.cameras[:3]).max() < 25


def test_pictures_that_look_like_a_part_do_not_make_the_shape_much_wider_than_they_are(
    seen: Observations, bank: Bank, reader: SurfaceReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = seen.features.shape[-1]
    middle = slice(cells // 2 - cells // 6, cells // 2 + cells // 6)
    part = interpolate(seen.features[:2, :, middle, middle], size=(cells, cells), mode="bilinear")
    alike = replace(seen[:2], features=normalize(part, dim=1), masks=None)

    def widest() -> float:
        found = find_poses(alike, bank, reader, SearchOptions(hypotheses=3), seed=0)
        shown = tight_windows(reader.surface, found.cameras, margin=1.0)[:, 2]
        return float((shown / alike.windows.repeat_interleave(found.scores.shape[1], dim=0)[:, 2]).max())

    monkeypatch.setattr(search, "settle", lambda _, __, cameras, images, **___: (cameras, torch.zeros_like(images) > 0))
    assert widest() < 1.6
    monkeypatch.setattr(search, "_WIDEST", 100.0)
    assert widest() > 2


@pytest.mark.parametrize(("tight", "fit_weight"), [(False, 1.0), (True, 0.1)])
def test_without_masks_each_image_decides_by_its_candidates(
    made: ShapeSet, bank: Bank, reader: SurfaceReader, tight: bool, fit_weight: float
) -> None:
    seen = observed(made, bank, noise=1.0) if tight else observed(made, bank, masked=False, noise=1.0)
    seen, options = replace(seen, masks=None), SearchOptions(hypotheses=3, refine=False)
    found = find_poses(seen, bank, reader, options, seed=0)
    alone = find_poses(seen, bank, reader, replace(options, collective=False), seed=0)
    assert torch.equal(found.scores, alone.scores)
    candidates = found.scores - fit_weight * found.fits
    torch.testing.assert_close(candidates.amax(dim=1), found.grid_scores)


@pytest.mark.parametrize("count", [1, 2])
def test_few_images_are_enough(
    seen: Observations, bank: Bank, reader: SurfaceReader, made: ShapeSet, count: int
) -> None:
    found = find_poses(seen[:count], bank, reader, SearchOptions(hypotheses=3, refine=False), seed=0)
    assert found.scores.shape == (count, 3)
    assert (errors_deg(found.best, made.cameras[:count]) < 15).all()


def test_more_hypotheses_than_directions_are_not_repeated(
    seen: Observations, bank: Bank, reader: SurfaceReader
) -> None:
    many = find_poses(seen[:1], bank, reader, SearchOptions(hypotheses=80, refine=False, collective=False), seed=0)
    rotations = many.cameras.rotation[torch.isfinite(many.scores[0])]
    assert len(rotations) < 80
    assert len({tuple(row) for row in rotations.flatten(1).tolist()}) == len(rotations)


def test_a_bench_without_a_front_is_ambiguous() -> None:
    made, found = bench_poses(0.0, 5, SearchOptions(hypotheses=2))
    errors = errors_deg(found.best, made.cameras)
    half_turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    turned = errors_deg(replace(found.best, rotation=found.best.rotation @ half_turn), made.cameras)
    assert found.ambiguous.float().mean() > 0.9
    assert torch.minimum(errors, turned).median() < 6
    assert torch.minimum(errors, turned).max() < 12


def test_a_slight_difference_between_the_sides_of_a_bench_is_enough() -> None:
    made, found = bench_poses(0.1, 6, SearchOptions(hypotheses=2))
    errors = errors_deg(found.best, made.cameras)
    assert errors.max() < 12
    assert errors.median() < 6


def test_a_search_can_be_stopped(seen: Observations, bank: Bank, reader: SurfaceReader) -> None:
    left = iter(range(15))

    def stop() -> None:
        if next(left, None) is None:
            raise JobCanceled

    with pytest.raises(JobCanceled):
        find_poses(seen, bank, reader, SearchOptions(hypotheses=1), seed=0, tick=stop)
