"""Losses of ASIC (arXiv 2303.16201), as the official code computes them.

`visible_contrastive`, `visible_equivariance` and `folding` are ours, for use in their stead or beside them.
"""

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


def visible_contrastive(
    source: Tensor,
    target: Tensor,
    visible: Tensor,
    *,
    source_near: Tensor,
    target_near: Tensor,
    temperature: float,
) -> Tensor:
    """InfoNCE of matched canonical places in both directions, among visible slots that lie apart in their picture.

    Args:
        source: (P, K, 2).
        target: (P, K, 2), partners.
        visible: (P, K), how much each match counts; 0 keeps it out of the softmax too.
        source_near: (P, K, K) bool, slots too near each other in the source picture to be told apart.
        target_near: (P, K, K), the same of the target picture.
        temperature: of the distances.

    Returns:
        The mean of both directions over the visible slots, by how much they count; 0 where there is none.
    """
    logits = -_distances(source, target) / temperature
    losses = _among(logits, visible, source_near) + _among(logits.mT, visible, target_near)
    total: Tensor = (losses * visible).sum() / (2 * visible.sum()).clamp(min=_NEVER_ZERO)
    return total


def _among(logits: Tensor, visible: Tensor, near: Tensor) -> Tensor:
    """Cross entropies (P, K) of finding each slot of the last axis among those of the axis before."""
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    allowed = own | ((visible > 0).unsqueeze(2) & ~near)
    found: Tensor = logits.masked_fill(~allowed, -torch.inf).logsumexp(dim=1) - logits.diagonal(dim1=1, dim2=2)
    return found


def near(pixels: Tensor, reach: float) -> Tensor:
    """Which of points (P, K, 2) lie closer than `reach` to which: (P, K, K)."""
    return torch.cdist(pixels, pixels) < reach


def _distances(source: Tensor, target: Tensor) -> Tensor:
    """From each source to each target: (P, K, K)."""
    distances: Tensor = (source.unsqueeze(2) - target.unsqueeze(1) + _NEVER_ZERO).norm(dim=3)
    return distances


def _queries(source: Tensor, target: Tensor, temperature: float) -> Tensor:
    """Cross entropies (P, K) of finding each target's source."""
    distances = _distances(source, target)
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


def visible_equivariance(flow_of_warped: Tensor, warped_flow: Tensor, warped_mask: Tensor) -> Tensor:
    """The same distance, counted once, as a mean over the object's pixels in the warped images.

    Args:
        flow_of_warped: (N, S, S, 2).
        warped_flow: (N, S, S, 2), which gets no gradient.
        warped_mask: (N, S, S), 1 on the object, else 0.
    """
    apart = (flow_of_warped - warped_flow.detach()).abs().mean(dim=3)
    return (apart * warped_mask).sum() / warped_mask.sum().clamp(min=1)


def folding(flow: Tensor, mask: Tensor) -> Tensor:
    """How far the Jacobian determinant of flows is below 0, as a mean over a mask; 1 for a mirrored picture.

    Args:
        flow: (N, S, S, 2), pixels' places from -1 to 1 over the picture.
        mask: (N, S, S), 1 on the object, else 0; a pixel counts if its right and lower neighbours are in it too.
    """
    right = (flow[:, :-1, 1:] - flow[:, :-1, :-1]) * (flow.shape[2] - 1) / 2
    down = (flow[:, 1:, :-1] - flow[:, :-1, :-1]) * (flow.shape[1] - 1) / 2
    determinants = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
    inside = mask[:, :-1, :-1] * mask[:, :-1, 1:] * mask[:, 1:, :-1]
    return (torch.relu(-determinants) * inside).sum() / inside.sum().clamp(min=1)


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
