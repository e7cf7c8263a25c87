"""Contrast between places (InfoNCE, van den Oord et al., arXiv 1807.03748), within a picture and across pictures.

Between two views of one picture the matching place is known. Between two pictures of a kind the network finds it
itself: the most similar cell within a window around the same place of the frame, kept only if the match back ends near
where it began. Things of one kind stand roughly alike in such pictures, so the window does what keypoints would.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from benchmarks.train_embedded.batches import Pairs
from benchmarks.train_embedded.recipe import Recipe
from benchmarks.train_embedded.views import Views

OUT_OF_REACH = -9.0
IMPOSSIBLE = -1e4
NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))


@dataclass(frozen=True)
class Cells:
    """The M = h * w cells of B views.

    Attributes:
        features: (B, M, C), of length 1.
        places: (B, M, 2), where they lie in their picture's frame.
        inside: (B, M), whether they show the picture.
        grid: h and w.
    """

    features: Tensor
    places: Tensor
    inside: Tensor
    grid: tuple[int, int]


@dataclass(frozen=True)
class Matches:
    """Q queries of each of P pairs.

    Attributes:
        queries: (P, Q), cells of the source.
        targets: (P, Q), the cells of the target that they match.
        trusted: (P, Q), whether the match counts.
    """

    queries: Tensor
    targets: Tensor
    trusted: Tensor


def cells_of(joined: Tensor, views: Views) -> Cells:
    """Tell of each cell of the features (B, C, h, w) where it lies."""
    grid = (joined.shape[-2], joined.shape[-1])
    places = interpolate(views.places.permute(0, 3, 1, 2), size=grid, mode="area")
    inside = interpolate(views.inside[:, None].float(), size=grid, mode="area") > 0.5
    return Cells(_listed(joined), _listed(places), inside.flatten(1), grid)


def _listed(maps: Tensor) -> Tensor:
    return maps.flatten(2).transpose(1, 2)


def negatives_of(cells: Cells, families: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """Draw places of every view, (B * n, C), and tell the views of which other families they are: (B, B * n)."""
    count, places = cells.features.shape[:2]
    drawn = torch.randint(places, (count, recipe.negatives))
    features = cells.features[torch.arange(count)[:, None], drawn].flatten(0, 1)
    owner = families[:, None].expand(-1, recipe.negatives).flatten()
    return features, families[:, None] != owner[None]


@torch.no_grad()
def known_matches(cells: Cells, pairs: Pairs, recipe: Recipe) -> Matches:
    """Match places by where they lie in the picture that both views show."""
    queries = _draw_queries(cells, pairs, recipe)
    distances = torch.cdist(_of(cells.places[pairs.source], queries), cells.places[pairs.target])
    nearest, targets = distances.min(dim=2)
    trusted = (nearest < 1.3 / cells.grid[1]) & _both_inside(cells, pairs, queries, targets)
    return Matches(queries, targets, trusted)


@torch.no_grad()
def found_matches(cells: Cells, pairs: Pairs, recipe: Recipe) -> Matches:
    """Match places of different pictures by the features, within the window, there and back."""
    queries = _draw_queries(cells, pairs, recipe)
    similarity = torch.bmm(cells.features[pairs.source], cells.features[pairs.target].transpose(1, 2))
    if recipe.consensus:
        similarity = consensus(similarity, cells.grid)
    source, target = cells.places[pairs.source], cells.places[pairs.target]
    distances = torch.cdist(source, target)
    possible = cells.inside[pairs.source][:, :, None] & cells.inside[pairs.target][:, None]
    score = similarity - recipe.centre_pull * (distances / recipe.window).square()
    score.masked_fill_((distances > recipe.window) | ~possible, OUT_OF_REACH)
    best, there = score.max(dim=2)
    ends = score.argmax(dim=1).gather(1, there)
    missed = (_of(source, ends) - source).norm(dim=2)
    trusted = (missed < recipe.agreement) & (best > OUT_OF_REACH)
    return Matches(queries, there.gather(1, queries), trusted.gather(1, queries))


def consensus(similarity: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average the similarity of two cells with that of their four neighbours in step: (P, M, M) to the same.

    The cells themselves count twice; neighbours beyond the border do not count.
    """
    height, width = grid
    table = similarity.view(-1, height, width, height, width)
    total, votes = 2 * table, torch.full((height, width, height, width), 2.0)
    for down, right in NEIGHBOURS:
        rows, from_rows = _overlap(down, height)
        columns, from_columns = _overlap(right, width)
        total[:, rows, columns, rows, columns] += table[:, from_rows, from_columns, from_rows, from_columns]
        votes[rows, columns, rows, columns] += 1
    return (total / votes).view_as(similarity)


def _overlap(step: int, length: int) -> tuple[slice, slice]:
    """Places that have a neighbour `step` further on, and these neighbours."""
    return slice(max(0, -step), length - max(0, step)), slice(max(0, step), length + min(0, step))


def contrast(
    cells: Cells, pairs: Pairs, matches: Matches, negatives: tuple[Tensor, Tensor], *, near: float, recipe: Recipe
) -> Tensor:
    """InfoNCE of every trusted match against the target's other cells and other families' cells; a mean."""
    others, foreign = negatives
    queries = _of(cells.features[pairs.source], matches.queries)
    similarity = torch.bmm(queries, cells.features[pairs.target].transpose(1, 2)) / recipe.temperature
    target_places = cells.places[pairs.target]
    beside = torch.cdist(_of(target_places, matches.targets), target_places) < near
    beside.scatter_(2, matches.targets[..., None], value=False)
    against = (queries @ others.T / recipe.temperature).masked_fill(~foreign[pairs.source][:, None], IMPOSSIBLE)
    logits = torch.cat([similarity.masked_fill(beside, IMPOSSIBLE), against], dim=2)
    losses = cross_entropy(logits.flatten(0, 1), matches.targets.flatten(), reduction="none")
    trusted = matches.trusted.flatten().float()
    return (losses * trusted).sum() / trusted.sum().clamp(min=1)


def _draw_queries(cells: Cells, pairs: Pairs, recipe: Recipe) -> Tensor:
    inside = cells.inside[pairs.source].float() + 1e-6
    return torch.multinomial(inside, min(recipe.queries, inside.shape[1]))


def _of(listed: Tensor, chosen: Tensor) -> Tensor:
    """Take rows (P, Q) of lists (P, M, C)."""
    return listed.gather(1, chosen[..., None].expand(-1, -1, listed.shape[-1]))


def _both_inside(cells: Cells, pairs: Pairs, queries: Tensor, targets: Tensor) -> Tensor:
    return cells.inside[pairs.source].gather(1, queries) & cells.inside[pairs.target].gather(1, targets)
