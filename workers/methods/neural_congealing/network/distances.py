"""How far an atlas' features are from what warps read in the pictures, cell by cell."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.nn.functional import cosine_similarity

_MIN_SQUARE = 1e-16


def feature_distances_plainly(atlas: Tensor, keys: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """What `feature_distances` computes, left to automatic differentiation."""
    each = torch.where(reach.view(-1, 1, 1, 1), atlas, atlas.detach())
    return (each - keys).square().mean(dim=1), 1 - cosine_similarity(each, keys, dim=1)


def feature_distances(atlas: Tensor, keys: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Mean squared difference and 1 - cosine over the channels, (B, H, W) each.

    The derivative is written out: with hundreds of channels, passes over the features are what costs.

    Args:
        atlas: (C, H, W).
        keys: (B, C, H, W).
        reach: (B,) bool, the images whose gradient reaches the atlas.
    """
    distances: tuple[Tensor, Tensor] = _Distances.apply(atlas, keys, reach)
    return distances


class _Distances(torch.autograd.Function):
    """With a, k, d the sums over channels of A^2, K^2 and A K: (a + k - 2 d) / C and 1 - d / sqrt(a k)."""

    @staticmethod
    def forward(ctx: FunctionCtx, atlas: Tensor, keys: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
        atlas_square = (atlas * atlas).sum(dim=0).clamp_(min=_MIN_SQUARE)
        keys_square = (keys * keys).sum(dim=1).clamp_(min=_MIN_SQUARE)
        product = (keys * atlas).sum(dim=1)
        length = (atlas_square * keys_square).sqrt_()
        cosine = product / length
        ctx.save_for_backward(atlas, keys, reach, atlas_square, keys_square, length, cosine)
        return (atlas_square + keys_square - 2 * product) / len(atlas), 1 - cosine

    @staticmethod
    def backward(ctx: Any, of_mse: Tensor, of_cosine: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        atlas, keys, reach, atlas_square, keys_square, length, cosine = ctx.saved_tensors
        plain = 2 * of_mse / len(atlas)
        along_other = -plain - of_cosine / length
        to_atlas = to_keys = None
        if ctx.needs_input_grad[1]:
            along_self = plain + of_cosine * cosine / keys_square
            to_keys = (keys * along_self.unsqueeze(1)).addcmul_(along_other.unsqueeze(1), atlas)
        if ctx.needs_input_grad[0]:
            counted = reach.to(plain).view(-1, 1, 1)
            along_self = (counted * (plain + of_cosine * cosine / atlas_square)).sum(dim=0)
            to_atlas = (keys * (counted * along_other).unsqueeze(1)).sum(dim=0).addcmul_(along_self, atlas)
        return to_atlas, to_keys, None
