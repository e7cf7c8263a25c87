"""The matches of the analytic set, as maps are fitted to them."""

from __future__ import annotations

import torch

from workers.evaluation.analytic_set import AnalyticSet
from workers.geometry.coordinates import index_to_normalised
from workers.geometry.joint_splines import PairedPoints


def paired_points(drawn: AnalyticSet, outliers: float = 0.0) -> PairedPoints:
    """Matches of all pairs, about this share of them wrong, in [-1, 1] and float64, each of weight 1."""
    matches = drawn.matches(outliers)
    longest = max(len(pair.true) for pair in matches.values())
    points = torch.zeros(2, len(matches), longest, 2, dtype=torch.float64)
    weights = torch.zeros(len(matches), longest)
    for row, pair in enumerate(matches.values()):
        count = len(pair.true)
        weights[row, :count] = 1
        for end, pixels in enumerate((pair.first_px, pair.second_px)):
            points[end, row, :count] = index_to_normalised(torch.from_numpy(pixels).double(), size=drawn.size)
    first, second = torch.tensor(list(matches)).T
    return PairedPoints(first, second, points[0], points[1], weights)
