"""Pseudo-correspondences of ASIC (arXiv 2303.16201, section 3): mutual nearest neighbours on the objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from workers.backbones.base import Tick, no_tick
from workers.matching.nearest import nearest_both_ways

_FOREGROUND = 0.5


@dataclass(frozen=True)
class PseudoCorrespondences:
    """K pairs of tokens that are each other's nearest.

    Attributes:
        first: (K,) tokens of the first image, ascending.
        second: (K,) their partners in the second image.
        similarity: (K,) cosines.
    """

    first: Tensor
    second: Tensor
    similarity: Tensor


def pseudo_correspondences(
    first: Tensor,
    second: Tensor,
    *,
    first_mask: Tensor | None = None,
    second_mask: Tensor | None = None,
    compat: bool = False,
    tick: Tick = no_tick,
) -> PseudoCorrespondences:
    """Keep the mutual nearest neighbours, among all tokens, that lie on the objects.

    Args:
        first: (P, C) descriptors of any length, compared by cosine.
        second: (Q, C).
        first_mask: (P,) bool, tokens on the object; all if None.
        second_mask: (Q,) bool.
        compat: filter as the official code does. It asks of the second image only that some token on the object has
            the first token as its nearest, so a partner on the background may pass; else both must be on the objects.
        tick: called after every chunk.
    """
    there, back = nearest_both_ways(normalize(first, dim=1), normalize(second, dim=1), tick=tick)
    own = torch.arange(len(first), device=first.device)
    kept = back.index[there.index] == own
    if first_mask is not None:
        kept &= first_mask
    if second_mask is not None:
        kept &= torch.isin(own, back.index[second_mask]) if compat else second_mask[there.index]
    chosen = kept.nonzero().squeeze(1)
    return PseudoCorrespondences(chosen, there.index[chosen], there.similarity[chosen])


def token_mask(mask: Tensor, *, rows: int, columns: int, compat: bool = False) -> Tensor:
    """Which tokens lie on the object.

    Args:
        mask: (H, W) in [0, 1].
        rows: of tokens.
        columns: of tokens.
        compat: as the official code: the mask in 8 bits, resized by Lanczos' filter, counts where it is above 0; else
            tokens count of which the object covers more than half.

    Returns:
        (rows * columns,) bool.
    """
    if not compat:
        covered: Tensor = adaptive_avg_pool2d(mask.unsqueeze(0), (rows, columns))
        return covered.flatten() > _FOREGROUND
    eight_bits = Image.fromarray((mask.cpu().numpy() * 255).astype(np.uint8))
    resized = np.asarray(eight_bits.resize((columns, rows), Image.Resampling.LANCZOS))
    return torch.from_numpy(resized > 0).flatten().to(mask.device)


def token_pixels(index: Tensor, *, columns: int, stride: int, patch: int) -> Tensor:
    """Pixels (K, 2), whole (x, y), at which the official code places tokens: `patch // 2` after each one's corner."""
    return torch.stack([index % columns, index // columns], dim=1) * stride + patch // 2
