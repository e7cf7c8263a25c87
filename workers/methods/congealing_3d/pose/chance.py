"""Whether an image's best pose means anything."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import fold, unfold

from workers.backbones.base import Tick, no_tick
from workers.methods.congealing_3d.pose.bank import Bank
from workers.methods.congealing_3d.pose.scoring import fit_scores

SHUFFLES = 9
_BLOCKS = (4, 2, 1)
_LEAST_BLOCKS = 8
_FILLED = 0.5


def scores_by_chance(features: Tensor, masks: Tensor | None, bank: Bank, *, seed: int, tick: Tick = no_tick) -> Tensor:
    """Best scores (N, shuffles) of each image with its features in disorder: what no pose can explain scores so.

    Blocks of 4 x 4 cells of the object change places, so that neighbours stay alike within them; masks stay as they
    are. Of thin objects, or few cells, blocks are smaller: fewer than 8 would often fall back into order. A true score
    that is not above all of these would be so by chance with a probability of a tenth or more.

    Args:
        features: (N, C, g, g) of the images' crops, 0 where there is no object; g a multiple of 4.
        masks: (N, 1, g, g) or None.
        bank: the candidates.
        seed: of the disorder.
        tick: shows life.
    """
    generator = torch.Generator().manual_seed(seed)
    sides = [_block_side(each) for each in features]
    found = []
    for _ in range(SHUFFLES):
        disorder = torch.stack([_disordered(*each, generator) for each in zip(features, sides, strict=True)])
        found.append(fit_scores(disorder, masks, bank).amax(dim=1))
        tick()
    return torch.stack(found, dim=1)


def _block_side(features: Tensor) -> int:
    """Side in cells of the largest blocks of which enough are filled."""
    enough = (side for side in _BLOCKS if len(_filled(unfold(features, side, stride=side), side)) >= _LEAST_BLOCKS)
    return next(enough, _BLOCKS[-1])


def _disordered(features: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Let the filled blocks of features (C, g, g) change places."""
    blocks = unfold(features, side, stride=side)
    places = _filled(blocks, side)
    order = torch.randperm(len(places), generator=generator).to(places.device)
    blocks[:, places] = blocks[:, places[order]]
    return fold(blocks, features.shape[-1], side, stride=side)


def _filled(blocks: Tensor, side: int) -> Tensor:
    """Numbers of the blocks (C side^2, B) at least half of which shows the object."""
    return (blocks.square().sum(dim=0) > _FILLED * side**2).nonzero().squeeze(1)
