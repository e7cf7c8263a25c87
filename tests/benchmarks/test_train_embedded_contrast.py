"""Which places training matches and what it makes of them, against the same written as loops."""

import math
from dataclasses import replace
from itertools import product

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from benchmarks.train_embedded.batches import Pairs, cross_picture_pairs, same_picture_pairs
from benchmarks.train_embedded.contrast import (
    OUT_OF_REACH,
    Cells,
    Matches,
    consensus,
    contrast,
    found_matches,
    known_matches,
    negatives_of,
)
from benchmarks.train_embedded.recipe import Recipe

GRID = (4, 5)
RECIPE = Recipe(queries=20, negatives=3, window=0.8, agreement=0.5)
PAIRS = Pairs(torch.tensor([0, 1, 2]), torch.tensor([1, 2, 0]))


def cells(seed: int = 0) -> Cells:
    draw = torch.Generator().manual_seed(seed)
    count, places = 3, GRID[0] * GRID[1]
    rows, columns = torch.meshgrid(
        torch.linspace(-0.8, 0.8, GRID[0]), torch.linspace(-0.8, 0.8, GRID[1]), indexing="ij"
    )
    grid = torch.stack([columns, rows], dim=-1).reshape(1, places, 2)
    return Cells(
        features=normalize(torch.randn(count, places, 6, generator=draw), dim=2),
        places=grid + 0.05 * torch.randn(count, places, 2, generator=draw),
        inside=torch.rand(count, places, generator=draw) < 0.8,
        grid=GRID,
    )


def looped_consensus(similarity: Tensor) -> Tensor:
    height, width = GRID
    result = torch.zeros_like(similarity)
    for pair, a, b in product(range(len(similarity)), range(height * width), range(height * width)):
        total, votes = 2 * similarity[pair, a, b], 2
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            ay, ax, by, bx = a // width + down, a % width + right, b // width + down, b % width + right
            if 0 <= ay < height and 0 <= by < height and 0 <= ax < width and 0 <= bx < width:
                total, votes = total + similarity[pair, ay * width + ax, by * width + bx], votes + 1
        result[pair, a, b] = total / votes
    return result


def test_consensus_agrees_with_loops() -> None:
    similarity = torch.randn(2, 20, 20, generator=torch.Generator().manual_seed(1))
    assert_close(consensus(similarity, GRID), looped_consensus(similarity))


@pytest.mark.parametrize("votes", [False, True])
def test_matches_across_pictures_agree_with_loops(votes: bool) -> None:
    recipe, given = replace(RECIPE, consensus=votes), cells()
    found = found_matches(given, PAIRS, recipe)
    trusted = 0
    for pair, (i, j) in enumerate(zip(PAIRS.source.tolist(), PAIRS.target.tolist(), strict=True)):
        similarity = given.features[i] @ given.features[j].T
        if votes:
            similarity = looped_consensus(similarity[None])[0]
        score = torch.full((20, 20), OUT_OF_REACH)
        for a, b in product(range(20), range(20)):
            distance = math.dist(given.places[i, a], given.places[j, b])
            if distance <= recipe.window and given.inside[i, a] and given.inside[j, b]:
                score[a, b] = similarity[a, b] - recipe.centre_pull * (distance / recipe.window) ** 2
        for query, target, trust in zip(found.queries[pair], found.targets[pair], found.trusted[pair], strict=True):
            there = int(score[query].argmax())
            assert there == target
            back = int(score[:, there].argmax())
            close = math.dist(given.places[i, back], given.places[i, query]) < recipe.agreement
            reachable = score[query, there] > OUT_OF_REACH and given.inside[i, query] and given.inside[j, there]
            assert bool(trust) == (close and bool(reachable))
            trusted += int(trust)
    assert trusted > 5


def test_known_matches_lie_at_the_same_place_of_the_picture() -> None:
    given = cells()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(2))
    places = torch.stack([given.places[0], given.places[0][order], given.places[0] + 5])
    shuffled = Cells(given.features, places, torch.ones(3, 20, dtype=torch.bool), GRID)
    matches = known_matches(shuffled, Pairs(torch.tensor([0, 0]), torch.tensor([1, 2])), RECIPE)
    assert order[matches.targets[0]].equal(matches.queries[0])
    assert matches.trusted[0].all()
    assert not matches.trusted[1].any()


def looped_contrast(given: Cells, matches: Matches, others: Tensor, foreign: Tensor, near: float) -> Tensor:
    losses = []
    for pair, (i, j) in enumerate(zip(PAIRS.source.tolist(), PAIRS.target.tolist(), strict=True)):
        for query, target, trust in zip(
            matches.queries[pair], matches.targets[pair], matches.trusted[pair], strict=True
        ):
            if not trust:
                continue
            vector = given.features[i, query]
            far = [
                cell
                for cell in range(20)
                if cell == target or math.dist(given.places[j, cell], given.places[j, target]) >= near
            ]
            against = torch.cat([given.features[j, far] @ vector, others[foreign[i]] @ vector]) / RECIPE.temperature
            losses.append(against.logsumexp(0) - given.features[j, target] @ vector / RECIPE.temperature)
    return torch.stack(losses).mean()


def test_contrast_and_its_gradient_agree_with_loops() -> None:
    given = cells()
    given.features.requires_grad_()
    matches = found_matches(given, PAIRS, RECIPE)
    others, foreign = negatives_of(given, torch.tensor([0, 1, 0]), RECIPE)
    assert foreign.sum(dim=1).tolist() == [3, 6, 3]
    loss = contrast(given, PAIRS, matches, (others, foreign), near=0.5, recipe=RECIPE)
    looped = looped_contrast(given, matches, others, foreign, near=0.5)
    assert_close(loss, looped)
    gradients = [torch.autograd.grad(value, given.features, retain_graph=True)[0] for value in (loss, looped)]
    assert_close(*gradients)


def test_no_trusted_match_costs_nothing() -> None:
    given = cells()
    none = Matches(
        torch.zeros(3, 4, dtype=torch.long), torch.zeros(3, 4, dtype=torch.long), torch.zeros(3, 4, dtype=torch.bool)
    )
    negatives = negatives_of(given, torch.tensor([0, 1, 2]), RECIPE)
    assert contrast(given, PAIRS, none, negatives, near=0.5, recipe=RECIPE) == 0


def test_pairs_stay_within_their_kind() -> None:
    recipe = Recipe(kinds_per_batch=2, pictures_per_kind=2)
    same, cross = same_picture_pairs(recipe), cross_picture_pairs(recipe)
    assert list(zip(same.source.tolist(), same.target.tolist(), strict=True)) == [(0, 2), (2, 0), (3, 5), (5, 3)]
    drawn = set(zip(cross.source.tolist(), cross.target.tolist(), strict=True))
    assert drawn == {(0, 1), (1, 0), (1, 2), (2, 1), (3, 4), (4, 3), (4, 5), (5, 4)}
