"""Whether an image's best pose means anything."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from workers.backbones.base import Tick, no_tick
from workers.methods.congealing_3d.pose.bank import Bank
from workers.methods.congealing_3d.pose.scoring import fit_scores

SHUFFLES = 9
_BLOCKS = (4, 2, 1)
_LEAST_BLOCKS = 8
_FILLED = 0.5


def scores_by_chance(features: Tensor, masks: Tensor | None, bank: Bank, *, seed: int, tick: Tick = no_tick) -> Tensor:
    """Best scores (N, shuffles) of each image with its features in disorder: what no pose can explain scores so.

    Blocks of 4 x 4 cells inside the object change places, so that neighbours stay alike within them; where the inside
    is thin, or cells are few, blocks are smaller: fewer than 8 would often fall back into order. Cells of the rim
    look alike in pictures and views whatever they show; they change places among themselves. Masks stay as they are.
    A true score that is not above all of these would be so by chance with a probability of a tenth or more.

    Args:
        features: (N, C, g, g) of the images' crops, 0 where there is no object; g a multiple of 4.
        masks: (N, 1, g, g) or None.
        bank: the candidates.
        seed: of the disorder.
        tick: shows life.
    """
    generator = torch.Generator().manual_seed(seed)
    is_object = features.square().sum(dim=1) > 0
    inside = _inside(is_object)
    found = []
    for _ in range(SHUFFLES):
        parts = zip(features, inside, is_object & ~inside, strict=True)
        disorder = torch.stack([_disordered(*part, generator) for part in parts])
        found.append(fit_scores(disorder, masks, bank).amax(dim=1))
        tick()
    return torch.stack(found, dim=1)


def _inside(is_object: Tensor) -> Tensor:
    """Cells (N, g, g) of the object all of whose eight neighbours belong to it."""
    beside = pad((~is_object).float().unsqueeze(1), (1, 1, 1, 1), value=1.0)
    return max_pool2d(beside, 3, stride=1)[:, 0] == 0


def _disordered(features: Tensor, inside: Tensor, rim: Tensor, generator: torch.Generator) -> Tensor:
    """Let features (C, g, g) change places inside an object and, by themselves, on its rim."""
    sides = (side for side in _BLOCKS if len(_filled(inside, side)) >= _LEAST_BLOCKS)
    source = torch.arange(inside.numel(), device=features.device)
    for cells, side in ((inside, next(sides, 1)), (rim, 1)):
        source = torch.where(cells.flatten(), _shuffled(cells, side, generator), source)
    return features.flatten(1)[:, source].view_as(features)


def _shuffled(cells: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """From where each cell (g, g) gets its feature, (g^2,): filled blocks change places, and all come from `cells`."""
    blocks = _filled(cells, side)
    order = torch.randperm(len(blocks), generator=generator).to(cells.device)
    source, known = torch.arange(cells.numel(), device=cells.device), cells.flatten()
    source[blocks.flatten()] = blocks[order].flatten()
    # What fell beside the cells fills the holes where their surroundings came to lie.
    is_hole = known & ~known[source]
    is_left = known.clone()
    is_left[source[known]] = False
    source[is_hole] = is_left.nonzero().squeeze(1)
    return source


def _filled(cells: Tensor, side: int) -> Tensor:
    """Numbers of the cells (B, side^2) of all blocks more than half of which are `cells` (g, g)."""
    across = len(cells) // side
    numbers = torch.arange(cells.numel(), device=cells.device).view(across, side, across, side)
    blocks = numbers.transpose(1, 2).reshape(-1, side**2)
    return blocks[cells.flatten()[blocks].float().mean(dim=1) > _FILLED]
