"""Where to begin with a warp: nearest features of an image in its render, where both agree, made smooth."""

from __future__ import annotations

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.matching.nearest import match
from workers.matching.subpixel import refine_matches
from workers.methods.congealing_3d.maps.membrane import Membrane, solve

AGREEMENT_CELLS = 1.5
"""How far from its start the way back may end for a match to count."""
_SHOWN = 0.5
_STIFFNESS = 1.0
_OUTLIER_CELLS = 2.0
_ROUNDS = 3
_STEPS = 60


def nearest_displacements(
    features: Tensor, mask: Tensor, rendered: Tensor, rendered_mask: Tensor
) -> tuple[Tensor, Tensor]:
    """Displacements to the most similar cell of the render, between cells by a parabola, and whether to trust them.

    Args:
        features: (C, g, g).
        mask: (1, g, g) in [0, 1]; cells of at least one half take part.
        rendered: (C, g, g).
        rendered_mask: (1, g, g) in [0, 1].

    Returns:
        Displacements (2, g, g) in [-1, 1] coordinates, 0 where there is no match, and trust (1, g, g): 1 where the
        way back ends within `AGREEMENT_CELLS`, else 0.
    """
    channels, rows, columns = features.shape
    table, other = features.reshape(channels, -1).T, rendered.reshape(channels, -1).T
    found = match(table, other, first_mask=mask.flatten() >= _SHOWN, second_mask=rendered_mask.flatten() >= _SHOWN)
    displacements, trust = features.new_zeros(rows * columns, 2), features.new_zeros(rows * columns)
    known = found.index >= 0
    if known.any():
        places = refine_matches(table[known], rendered, found.index[known])
        own = torch.arange(rows * columns, device=features.device)[known]
        at, back = _cell(own, columns), _cell(found.back[known], columns)
        displacements[known] = 2 * (places - at) / places.new_tensor([columns, rows])
        trust[known] = ((back - at).norm(dim=1) <= AGREEMENT_CELLS).to(trust)
    return displacements.T.view(2, rows, columns), trust.view(1, rows, columns)


def smooth_start(
    features: Tensor,
    mask: Tensor,
    rendered: Tensor,
    rendered_mask: Tensor,
    tied: Membrane,
    *,
    tick: Tick = no_tick,
) -> Tensor:
    """Displacements (N, 2, g, g) of N images: trusted matches made smooth, those that stand out left behind.

    Args:
        features: (N, C, g, g); this and the next three as for `nearest_displacements`.
        mask: (N, 1, g, g).
        rendered: (N, C, g, g).
        rendered_mask: (N, 1, g, g).
        tied: the cells, by their features.
        tick: called after every image; may raise.
    """
    pairs = []
    for each in zip(features, mask, rendered, rendered_mask, strict=True):
        pairs.append(nearest_displacements(*each))
        tick()
    raw, trust = torch.stack([pair[0] for pair in pairs]), torch.stack([pair[1] for pair in pairs])
    stiff = tied.within(mask).times(_STIFFNESS)
    outlier = 2 * _OUTLIER_CELLS / features.shape[-1]
    weight, smooth = trust, torch.zeros_like(raw)
    for _ in range(_ROUNDS):
        springs = torch.cat([weight, torch.zeros_like(weight), weight], dim=1)
        smooth = solve(springs, stiff, weight * raw, steps=_STEPS)
        distance = (smooth - raw).square().sum(dim=1, keepdim=True)
        weight = trust / (1 + distance / outlier**2).square()
    return smooth


def _cell(index: Tensor, columns: int) -> Tensor:
    return torch.stack([index % columns, index // columns], dim=1).float()
