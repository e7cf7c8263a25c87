"""The learned atlas of Neural Congealing (arXiv 2302.03956): a key vector and a saliency logit in each cell."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from workers.methods.neural_congealing.network.objective import AtlasView

_LEAST, _MOST = 0.1, 0.9
_FIXED_MARGIN = 1e-3


class AtlasParameters(nn.Module):
    """Keys (C, R, R) and saliency logits (R, R)."""

    def __init__(self, keys: Tensor, logits: Tensor, *, fixed: bool = False) -> None:
        """Start from these; `fixed` ones are not optimised."""
        super().__init__()
        self.keys = nn.Parameter(keys.clone(), requires_grad=not fixed)
        self.logits = nn.Parameter(logits.clone(), requires_grad=not fixed)

    def view(self) -> AtlasView:
        """The atlas as the losses see it."""
        return AtlasView(self.keys, torch.sigmoid(self.logits))


def mean_atlas(keys: Tensor, masks: Tensor, valid: Tensor) -> AtlasParameters:
    """Start from the mean of keys (N, C, R, R) and masks (N, 1, R, R); keys count where `valid` (N, 1, R, R) says."""
    total = valid.sum(dim=0)
    mean = (valid * keys).sum(dim=0) / total.clamp(min=1e-6)
    return AtlasParameters(mean, saliency_logits(masks.mean(dim=0)[0]))


def fixed_atlas(keys: Tensor, mask: Tensor) -> AtlasParameters:
    """The atlas that is one image: its keys (C, R, R) and its mask (1, R, R)."""
    return AtlasParameters(keys, torch.logit(mask[0].clamp(_FIXED_MARGIN, 1 - _FIXED_MARGIN)), fixed=True)


def saliency_logits(mean_mask: Tensor) -> Tensor:
    """Logits of a mean mask (R, R) stretched to [0.1, 0.9]; where it is the same everywhere, of 0.9."""
    low, high = mean_mask.min(), mean_mask.max()
    spread = high - low
    share = torch.where(spread > 0, (mean_mask - low) / spread.clamp(min=1e-12), torch.ones_like(mean_mask))
    return torch.logit(_LEAST + (_MOST - _LEAST) * share)
