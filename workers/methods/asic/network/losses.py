"""Losses of ASIC (arXiv 2303.16201), as the official code computes them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, smooth_l1_loss

_NEVER_ZERO = 1e-6


def contrastive(
    source: Tensor, target: Tensor, visible: Tensor, *, temperature: float = 1.0, weights: Tensor | None = None
) -> Tensor:
    """InfoNCE of matched canonical places; both terms take the softmax over the source's places.

    Slots that are not visible are no queries, but stay in the softmax.

    Args:
        source: (P, K, 2).
        target: (P, K, 2), partners.
        visible: (P, K) bool.
        temperature: of the distances.
        weights: (P, K) of the queries; 1 if None.

    Returns:
        A mean over the visible slots; 0 where there is none.
    """
    losses = _queries(source, target.detach(), temperature) + _queries(source.detach(), target, temperature)
    counted = visible.to(losses) if weights is None else visible * weights
    total: Tensor = (losses * counted).sum() / visible.sum().clamp(min=1)
    return total


def _queries(source: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Cross entropies (P, K) of finding each target's source."""
    distances = (source.unsqueeze(2) - target.unsqueeze(1) + _NEVER_ZERO).norm(dim=3)
    own = torch.arange(source.shape[1], device=source.device).expand(len(source), -1)
    return cross_entropy(-distances / temperature, own, reduction="none")


def equivariance(flow_of_warped: Tensor, warped_flow: Tensor, mask: Tensor, warped_mask: Tensor) -> Tensor:
    """Mean distance (L1) of the flow of warped images from the warped flow, which gets no gradient.

    Counted twice, the second time without any gradient, as the official code does.

    Args:
        flow_of_warped: (N, S, S, 2).
        warped_flow: (N, S, S, 2).
        mask: (N, S, S) of the images.
        warped_mask: (N, S, S) bool, of the warped images. Pixels count where both masks are; the mean is over all.
    """
    both = (mask * warped_mask).unsqueeze(3)
    distance = ((flow_of_warped - warped_flow.detach()).abs() * both).mean()
    return distance + distance.detach()


def total_variation(offsets: Tensor) -> Tensor:
    """Smooth L1 of differences between vertical neighbours of offsets (N, S, S, 2), plus that of horizontal ones."""
    vertical = smooth_l1_loss(offsets[:, 1:], offsets[:, :-1])
    return vertical + smooth_l1_loss(offsets[:, :, 1:], offsets[:, :, :-1])


def part_centroids(flow: Tensor, labels: Tensor, count: int) -> Tensor:
    """Mean canonical places (count, 2) of each part over a batch; 0 where a part is absent.

    Args:
        flow: (N, S, S, 2).
        labels: (N, S, S) in 0 .. count - 1.
        count: of parts, the background included.
    """
    index, places = labels.flatten(), flow.detach().flatten(0, 2)
    sums = places.new_zeros(count, 2).index_add(0, index, places)
    return sums / torch.bincount(index, minlength=count).clamp(min=1).unsqueeze(1)


def parts(flow: Tensor, labels: Tensor, mask: Tensor, count: int) -> Tensor:
    """Mean distance (L1) of canonical places from the centroid of their part, on a mask (N, S, S); over all pixels."""
    wanted = part_centroids(flow, labels, count)[labels]
    return ((flow - wanted).abs() * mask.unsqueeze(3)).mean()
