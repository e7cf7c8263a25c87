"""What the direct mode minimises, per image, on the atlas cells that matter."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

HUBER_LIMIT = 0.7
_MIN_SQUARE = 1e-8


def robust(distance: Tensor, scale: float) -> Tensor:
    """scale d / (scale + d): grows like d at first, never beyond `scale`."""
    return scale * distance / (scale + distance)


def feature_distance_plainly(atlas: Tensor, sampled: Tensor) -> Tensor:
    """What `feature_distance` computes, left to automatic differentiation."""
    length = sampled.square().sum(dim=1).clamp(min=_MIN_SQUARE).sqrt()
    return 1 - torch.einsum("dp,ndp->np", atlas, sampled) / length


def feature_distance(atlas: Tensor, sampled: Tensor) -> Tensor:
    """1 - cosine (N, P) between atlas vectors (D, P), unit, and sampled ones (N, D, P), of any length.

    Differentiable in `sampled` only. The derivative is written out, which spares most of the memory traffic.
    """
    distance: Tensor = _CosineDistance.apply(atlas, sampled)
    return distance


class _CosineDistance(torch.autograd.Function):
    """d(1 - a.f / |f|) / df = (cos f / |f| - a) / |f|."""

    @staticmethod
    def forward(ctx: FunctionCtx, atlas: Tensor, sampled: Tensor) -> Tensor:
        length = (sampled * sampled).sum(dim=1).clamp_(min=_MIN_SQUARE).sqrt_()
        cosine = (sampled * atlas).sum(dim=1).div_(length)
        ctx.save_for_backward(atlas, sampled, length, cosine)
        return 1 - cosine

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        atlas, sampled, length, cosine = ctx.saved_tensors
        share = gradient / length
        result = sampled * (share * cosine / length).unsqueeze(1)
        return None, result.addcmul_(share.unsqueeze(1), atlas.unsqueeze(0), value=-1)


def huber(difference: Tensor, limit: float = HUBER_LIMIT) -> Tensor:
    """d^2 / 2 up to the limit, then linear (Neural Congealing, arXiv 2302.03956, saliency loss)."""
    size = difference.abs()
    return torch.where(size <= limit, difference.square() / 2, limit * (size - limit / 2))


def data_loss(
    atlas: Tensor,
    saliency: Tensor,
    sampled: Tensor,
    masks: Tensor | None,
    valid: Tensor,
    *,
    scale: float,
    mask_weight: float,
) -> Tensor:
    """Loss (N,) of each image at P atlas cells.

    Args:
        atlas: (D, P) unit vectors.
        saliency: (P,) weights of the cells, also the masks' target.
        sampled: (N, D, P) features read through the warps.
        masks: (N, P) masks read through the warps; None leaves their agreement out.
        valid: (N, P) 0 where a warp reads outside its picture; no gradient passes.
        scale: of `robust`.
        mask_weight: weight of the masks' agreement.
    """
    inside = valid.detach()
    total = saliency.sum().clamp(min=1e-6)
    loss = (saliency * inside * robust(feature_distance(atlas, sampled), scale)).sum(dim=1) / total
    if masks is None:
        return loss
    return loss + mask_weight * (inside * huber(saliency - masks)).sum(dim=1) / total


def flow_penalty(controls: Tensor, operator: Tensor, *, smoothness: float | Tensor, magnitude: float) -> Tensor:
    """Smoothness and size (N,) of flows (N, 2, n, n): `operator` is `smoothness_operator(n)`."""
    flat = controls.flatten(2)
    bend = torch.einsum("nca,ab,ncb->n", flat, operator, flat)
    return smoothness * bend + magnitude * flat.square().sum(dim=1).mean(dim=1)


def closed_form_atlas(sampled: Tensor, weights: Tensor) -> Tensor:
    """The unit vectors (D, P) nearest to the sampled ones (N, D, P) under weights (N, P)."""
    total = torch.einsum("ndp,np->dp", sampled, weights)
    return total / total.square().sum(dim=0, keepdim=True).clamp(min=1e-12).sqrt()


def noise_to_signal(cosine: Tensor, count: int) -> Tensor:
    """Power of the noise relative to the signal, from cosines of one vector with the mean of the `count` - 1 others.

    Vectors s + n_i with |n_i|^2 = x |s|^2 have cos^-2 = (1 + x) (1 + x / (count - 1)), solved for x >= 0.
    """
    others = count - 1
    excess = others * (cosine.clamp(1e-2, 1).square().reciprocal() - 1)
    half = (others + 1) / 2
    return (half * half + excess).sqrt() - half


def leave_one_out_agreement(sampled: Tensor, weights: Tensor) -> Tensor:
    """Cosine (N, P) of each image's vectors (N, D, P), unit, with the weighted mean of all other images'."""
    weighted = sampled * weights.unsqueeze(1)
    others = weighted.sum(dim=0, keepdim=True) - weighted
    length = others.square().sum(dim=1).clamp(min=1e-12).sqrt()
    return (others * sampled).sum(dim=1) / length
