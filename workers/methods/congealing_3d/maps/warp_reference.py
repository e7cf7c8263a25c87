"""The warp of one image as 3D Congealing (arXiv 2404.02125) finds it: thousands of steps of Adam, written plainly.

The paper does not say how it weighs and steps; the numbers are those of `WarpOptions`. `find_warps` is much faster.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from workers.geometry.coordinates import identity_grid, sample
from workers.methods.congealing_3d.maps.distance import distance_map
from workers.methods.congealing_3d.maps.warp import WarpOptions

STEPS = 4000
RATE = 3e-3
_SHOWN = 0.5


def find_warp_plainly(
    features: Tensor,
    mask: Tensor,
    rendered: Tensor,
    start: Tensor,
    options: WarpOptions | None = None,
    *,
    steps: int = STEPS,
) -> Tensor:
    """Displacements (2, G, G) of one image; see `find_warps`.

    Args:
        features: (C, g, g) of the image.
        mask: (1, g, g) in [0, 1]; nodes of at least one half count.
        rendered: (C, g, g) of the render, 0 where there is nothing.
        start: (2, g', g') displacements to begin with.
        options: weights and levels; distances all count alike.
        steps: of Adam, shared by the levels.
    """
    options = options or WarpOptions()
    displacement = start[None]
    for size in options.levels:
        displacement = interpolate(displacement, (size, size), mode="bilinear", antialias=True)
        own_features, own_mask = _at_level(features[None], mask[None], size)
        shown = (own_mask >= _SHOWN).to(features)
        displacement = _descended(
            displacement, own_features, shown, rendered[None], options, steps // len(options.levels)
        )
    return displacement[0]


def paper_loss(displacement: Tensor, features: Tensor, mask: Tensor, rendered: Tensor, options: WarpOptions) -> Tensor:
    """The loss of displacements (1, 2, G, G), of features (1, C, G, G) and binary masks (1, 1, G, G) on their nodes."""
    own = identity_grid(*mask.shape[2:], device=mask.device)
    seen = sample(rendered, own + displacement.permute(0, 2, 3, 1))
    area = mask.sum().clamp_min(1)
    semantic = (mask[:, 0] * distance_map(features, seen)).sum() / area
    across = mask[..., 1:] * mask[..., :-1] * (displacement[..., 1:] - displacement[..., :-1]).square()
    down = mask[..., 1:, :] * mask[..., :-1, :] * (displacement[..., 1:, :] - displacement[..., :-1, :]).square()
    smoothness = (across.sum() + down.sum()) / area
    shrinkage = (mask * displacement.square()).sum() / area
    return options.semantic * semantic + options.stiffness(mask.shape[-1]) * smoothness + options.shrinkage * shrinkage


def _descended(
    displacement: Tensor, features: Tensor, mask: Tensor, rendered: Tensor, options: WarpOptions, steps: int
) -> Tensor:
    unknown = displacement.clone().requires_grad_()
    optimiser = torch.optim.Adam([unknown], lr=RATE)
    for _ in range(steps):
        optimiser.zero_grad()
        paper_loss(unknown, features, mask, rendered, options).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return unknown.detach()


def _at_level(features: Tensor, mask: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Features (1, C, g, g) and masks (1, 1, g, g) on size x size nodes; features by what the mask shows of them."""
    shown = torch.cat([normalize(features, dim=1) * mask, mask], dim=1)
    if size < features.shape[-1]:
        shown = adaptive_avg_pool2d(shown, size)
    elif size > features.shape[-1]:
        shown = interpolate(shown, (size, size), mode="bilinear")
    return shown[:, :-1], shown[:, -1:]
