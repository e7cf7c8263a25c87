"""The matches of the analytic set, as the fits take them."""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from workers.evaluation.analytic_set import IMAGES, AnalyticSet, analytic_set
from workers.geometry.coordinates import index_to_normalised
from workers.geometry.joint_splines import PairedPoints

SIZE = 64


@cache
def truth() -> AnalyticSet:
    """The set at 64 x 64 pixels."""
    return analytic_set(SIZE)


@cache
def paired(outliers: float = 0.0) -> PairedPoints:
    """Matches of all pairs of its pictures, this share of them wrong."""
    pairs = truth().matches(outliers)
    points = torch.zeros(2, len(pairs), max(len(matches.first_px) for matches in pairs.values()), 2)
    weights = torch.zeros(points.shape[1:3])
    for row, matches in enumerate(pairs.values()):
        count = len(matches.first_px)
        weights[row, :count] = 1
        for side, ends in enumerate((matches.first_px, matches.second_px)):
            points[side, row, :count] = index_to_normalised(torch.from_numpy(ends).float(), size=SIZE)
    return PairedPoints(*torch.tensor(list(pairs)).unbind(dim=1), *points, weights)


def seen_mirrored(matches: PairedPoints, images: Tensor) -> PairedPoints:
    """The same matches with the ends that lie in some images (N,) bool turned left to right."""
    first, second = (
        points * torch.stack([torch.where(images[of], -1.0, 1.0), torch.ones(len(of))], dim=1).unsqueeze(1)
        for of, points in ((matches.first, matches.first_points), (matches.second, matches.second_points))
    )
    return replace(matches, first_points=first, second_points=second)


def flags(*images: int) -> Tensor:
    """Which (8,) bool of its pictures are named."""
    return torch.isin(torch.arange(IMAGES), torch.tensor(images))
