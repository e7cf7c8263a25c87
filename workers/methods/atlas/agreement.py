"""How well each image fits the atlas: agreement of the images' features where the atlas shows the same place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from workers.backbones.base import Tick
from workers.geometry.coordinates import resize_grid, sample

AGREEMENT_CELLS = 64
_AGREES = 0.8
_MIN_LEVEL = 0.1
_MIN_SHARE = 0.25
_OUTLIER_SCORE = 0.3
_SUSPECT_SCORE = 0.75
_APART_SCORE = 0.6
_DROP = 0.2


@dataclass(frozen=True)
class Congealed:
    """Features of N images seen through the atlas, on a x a cells of it.

    Attributes:
        features: (N, C, a * a) unit vectors in half precision, less the mean of the set.
        seen: (N, a * a) in [0, 1], where the images show the atlas.
        saliency: (a * a,) of the atlas in [0, 1].
    """

    features: Tensor
    seen: Tensor
    saliency: Tensor

    def visible(self, index: int) -> Tensor:
        """An image's vectors (C, a * a), 0 where it is not seen."""
        return self.features[index].float() * self.seen[index]

    def beside_others(self, weights: Tensor, tick: Tick) -> Iterator[tuple[Tensor, Tensor]]:
        """For each image its vectors where seen, and the unit vectors of the mean of the others by weights (N,)."""
        total = torch.zeros_like(self.features[0], dtype=torch.float32)
        for index, weight in enumerate(weights.tolist()):
            total += weight * self.visible(index)
            tick()
        for index, weight in enumerate(weights.tolist()):
            own = self.visible(index)
            yield own, normalize(total - weight * own, dim=0)
            tick()


def congealed(
    views: Iterable[tuple[Tensor, Tensor]], mean: Tensor, grids: Tensor, valid: Tensor, saliency: Tensor, tick: Tick
) -> Congealed:
    """See the features of N images through the atlas.

    Args:
        views: per image its features (1, C, h, w), and the grid (1, A, A, 2) from the atlas to them.
        mean: (C,) of the set's features.
        grids: (N, A, A, 2) atlas -> image as uploaded.
        valid: (N, 1, h, w) in [0, 1], 0 on padding.
        saliency: (A, A) of the atlas in [0, 1].
        tick: called for every image.
    """
    rows = []
    for maps, grid in views:
        seen = sample(maps - mean.view(1, -1, 1, 1), resize_grid(grid, AGREEMENT_CELLS))
        rows.append(normalize(seen[0].flatten(1), dim=0).half())
        tick()
    size = (AGREEMENT_CELLS, AGREEMENT_CELLS)
    return Congealed(
        torch.stack(rows),
        sample(valid, resize_grid(grids, AGREEMENT_CELLS), padding="zeros").flatten(1),
        interpolate(saliency[None, None], size, mode="bilinear", antialias=True).flatten(),
    )


def agreement_maps(congealed: Congealed, weights: Tensor, tick: Tick) -> Tensor:
    """Cosine of each image's features with the mean of the others' by weights (N,): (N, a, a); below 0 counts as 0."""
    cosines = torch.stack([(own * others).sum(dim=0) for own, others in congealed.beside_others(weights, tick)])
    return cosines.clamp(0, 1).view(-1, AGREEMENT_CELLS, AGREEMENT_CELLS)


def alignment_scores(congealed: Congealed, tick: Tick) -> Tensor:
    """How well each image lies in the atlas, (N,) in [0, 1]: 1 like the typical image of the set, near 0 like chance.

    The score is the share of the object's area, by the atlas' saliency, on which the image agrees with the others,
    relative to the median image's share. It agrees at a cell where the cosine of its features with the others' mean
    is at least four fifths of the way from chance to the set's level; a cell that it does not show disagrees.

    The set's level is the median over the images of the mean cosine over the object. Chance is the median of the same
    mean over all pairs of an image's cell and another cell of the atlas, that is, of the images' cells dealt out over
    the object at random. The mean of the others is taken twice, the second time weighted by the first scores, so that
    a stranger does not spoil it. Sets whose level is hardly above chance score low as a whole.
    """
    scores = torch.ones_like(congealed.seen[:, 0])
    for _ in range(2):
        scores = _relative_shares(congealed, scores, tick)
    return scores


def _relative_shares(congealed: Congealed, weights: Tensor, tick: Tick) -> Tensor:
    saliency = congealed.saliency
    area = saliency.sum().clamp(min=1e-6)
    cosines, chances = [], []
    for own, others in congealed.beside_others(weights, tick):
        cosines.append((own * others).sum(dim=0))
        chances.append((own @ saliency) @ (others @ saliency) / area**2)
    typical = weights >= weights.median()
    cosine = torch.stack(cosines)
    level = (cosine @ saliency / area)[typical].median()
    chance = torch.stack(chances)[typical].median()
    agrees = cosine >= chance + _AGREES * (level - chance).clamp(min=_MIN_LEVEL)
    share = agrees.to(saliency) @ saliency / area
    return (share / share[typical].median().clamp(min=_MIN_SHARE)).clamp(0, 1)


def confirmed_outliers(suspects: Tensor, scores: Tensor) -> Tensor:
    """Images (N,) that do not belong, by their scores (N,); always the minority.

    Those are images with a score below 0.3; those below 0.75 that the alignment suspected for its own reasons; and
    those below 0.6 that a drop of at least 0.2 parts from all that are better. Where half of the set or more would be
    named, the alignment as a whole is poor and nobody is to blame.
    """
    ordered = scores.sort(descending=True).values
    steep = (ordered[:-1] - ordered[1:] >= _DROP) & (ordered[1:] < _APART_SCORE)
    below_drop = scores <= ordered[1:][steep].max() if bool(steep.any()) else torch.zeros_like(suspects)
    named = (scores < _OUTLIER_SCORE) | (suspects & (scores < _SUSPECT_SCORE)) | below_drop
    return named & (2 * named.sum() < len(named))
