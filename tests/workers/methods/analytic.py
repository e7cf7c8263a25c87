"""The matches of the analytic set, as the fits take them."""

from dataclasses import replace
from functools import cache

import torch
from torch import Tensor

from workers.evaluation.analytic_matches import paired_points
from workers.evaluation.analytic_set import IMAGES, AnalyticSet, analytic_set
from workers.geometry.joint_splines import PairedPoints

SIZE = 64


@cache
def truth() -> AnalyticSet:
    """The set at 64 x 64 pixels."""
    return analytic_set(SIZE)


@cache
def paired(outliers: float = 0.0) -> PairedPoints:
    """Matches of all pairs of its pictures, this share of them wrong."""
    return paired_points(truth(), outliers)


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
