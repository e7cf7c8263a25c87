"""How the official code of Telling Left from Right (arXiv 2311.17034) computes the instance matching distance."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

RESOLUTION = 64
"""Cells a side that the official code compares features at to choose a variant; its test of poses takes 128."""
_NOWHERE = -1e5
"""Value of all channels of cells outside the target's mask: too far to be nearest."""


def resampled_masks(masks: Tensor, resolution: int) -> Tensor:
    """Masks (N, H, W) bool at `resolution` cells a side: what the pixel at or before each cell's corner says."""
    return interpolate(masks.unsqueeze(1).float(), (resolution, resolution), mode="nearest").squeeze(1) > 0


def official_imd(source: Tensor, target: Tensor, source_mask: Tensor, target_mask: Tensor | None = None) -> float:
    """Mean distance of the source's cells to the nearest of the target's, one cell after the other.

    Args:
        source: (C, r, r).
        target: (C, r, r).
        source_mask: (r, r) bool.
        target_mask: (r, r) bool; all cells if None, as in the official test of poses.
    """
    candidates = target.flatten(1).T
    if target_mask is not None:
        candidates = candidates.masked_fill(~target_mask.flatten().unsqueeze(1), _NOWHERE)
    distances = []
    for row, column in source_mask.nonzero().tolist():
        gaps = candidates - source[:, row, column]
        distances.append(torch.linalg.vector_norm(gaps, dim=1).min())
    return float(torch.stack(distances).mean())


def official_mutual_distance(first: Tensor, second: Tensor) -> float:
    """Mean distance of mutual nearest neighbours of two maps (C, h, w), from the whole matrix of distances."""
    one, other = first.flatten(1).T, second.flatten(1).T
    distances = torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist")
    there, back = distances.argmin(dim=1), distances.argmin(dim=0)
    own = torch.arange(len(one))
    mutual = own[back[there] == own]
    return float(distances[mutual, there[mutual]].mean())
