import pytest
import torch

from tests.workers.methods.congealing_3d.photographs import (
    FEW,
    bank_of,
    cell_masks,
    observed,
    reader_of,
    shuffled,
)
from workers.evaluation.procedural_shapes import animal
from workers.evaluation.shape_set import ShapeSet
from workers.methods.congealing_3d.pose.bank import Bank, DescribeOptions
from workers.methods.congealing_3d.pose.chance import SHUFFLES, scores_by_chance
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.pose.scoring import fit_scores


def test_true_pictures_score_far_above_disorder(bank: Bank, seen: Observations) -> None:
    for masks in (cell_masks(seen), None):
        chance = scores_by_chance(seen.features, masks, bank, seed=0)
        assert chance.shape == (6, SHUFFLES)
        assert (fit_scores(seen.features, masks, bank).amax(dim=1) > 1.3 * chance.amax(dim=1)).all()


def test_disorder_is_not_above_disorder(bank: Bank, seen: Observations) -> None:
    masks, above = cell_masks(seen), 0
    for seed in range(4):
        nonsense = shuffled(seen, seed=seed).features
        chance = scores_by_chance(nonsense, masks, bank, seed=seed).amax(dim=1)
        above += int((fit_scores(nonsense, masks, bank).amax(dim=1) > chance).sum())
    assert above <= 0.25 * 24


def test_the_same_seed_gives_the_same_and_every_shuffle_another(bank: Bank, seen: Observations) -> None:
    ticks: list[int] = []
    first = scores_by_chance(seen.features, None, bank, seed=4, tick=lambda: ticks.append(0))
    assert torch.equal(first, scores_by_chance(seen.features, None, bank, seed=4))
    assert not torch.equal(first, scores_by_chance(seen.features, None, bank, seed=5))
    assert len(ticks) == SHUFFLES
    assert all(len(row.unique()) > 1 for row in first)


@pytest.mark.parametrize("rows", [slice(0, 16), slice(7, 9)])
def test_thin_objects_are_not_taken_for_chance(bank: Bank, seen: Observations, rows: slice) -> None:
    features = torch.zeros_like(seen.features)
    features[:, :, rows] = seen.features[:, :, rows]
    for shown in (features, features.transpose(2, 3)):
        chance = scores_by_chance(shown, None, bank, seed=0)
        assert (chance < fit_scores(features, None, bank).amax(dim=1, keepdim=True)).any(dim=1).sum() >= 5
        assert all(len(row.unique()) == SHUFFLES for row in chance)


def test_few_cells_are_enough_to_tell(made: ShapeSet) -> None:
    options = DescribeOptions(size=64, cells=12, dim=64)
    bank = bank_of(reader_of(animal(0), options), FEW)
    images = observed(made, bank, options=options)
    masks = cell_masks(images)
    chance = scores_by_chance(images.features, masks, bank, seed=0).amax(dim=1)
    assert (fit_scores(images.features, masks, bank).amax(dim=1) > 1.1 * chance).all()


def test_nothing_at_all_is_no_better_than_chance(bank: Bank) -> None:
    nothing = torch.zeros_like(bank.features[:1])
    masks = torch.zeros_like(bank.masks[:1])
    assert scores_by_chance(nothing, masks, bank, seed=0).abs().max() == 0
