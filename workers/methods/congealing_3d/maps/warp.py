"""Warps from images to their renders, by features: damped Gauss-Newton steps for all images at once.

The loss is that of 3D Congealing (arXiv 2404.02125): semantic distance, smoothness and small displacements; but large
distances count less and less (Geman and McClure), so what hides the object does not drag the warp along.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.backbones.base import Tick, no_tick
from workers.geometry.coordinates import identity_grid
from workers.methods.congealing_3d.maps.matches import smooth_start
from workers.methods.congealing_3d.maps.membrane import Membrane, solve
from workers.methods.congealing_3d.maps.similarity import Reading, Similarities, SimilarityPyramid

_TABLE_VALUES = 1 << 23
_SMOOTHNESS_NODES = 32
_SHOWN = 0.5
_LEAST_SCALE = 0.05
_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-2, 1e-6, 1e6
_MORE, _LESS = 8.0, 0.25


@dataclass(frozen=True)
class WarpOptions:
    """What is minimised, and how.

    Attributes:
        semantic: weight of the distances, a mean over the mask.
        smoothness: weight of the squared differences between neighbouring nodes of 32 a side, summed, by the mask's
            area in nodes; at other levels such that the same field costs the same.
        shrinkage: weight of the squared displacements, a mean over the mask.
        outlier: distances of so many times the median cost half of what they would; None: all cost in full, as in
            the paper.
        levels: nodes a side, from coarse to fine.
        steps: of Gauss-Newton at each level.
        solver_steps: of conjugate gradients in each.
    """

    semantic: float = 1.0
    smoothness: float = 1.0
    shrinkage: float = 0.01
    outlier: float | None = 2.0
    levels: tuple[int, ...] = (16, 32, 64)
    steps: int = 6
    solver_steps: int = 12

    def stiffness(self, size: int) -> float:
        """Weight of the squared differences between nodes of which there are `size` a side."""
        return self.smoothness * (size / _SMOOTHNESS_NODES) ** 2


@dataclass(frozen=True)
class Warps:
    """Where each cell of N windows lies in its render: phi(u) = u + displacement.

    Attributes:
        displacement: (N, 2, G, G), (x, y), in the window's [-1, 1] coordinates; goes on smoothly off the object.
        cosine: (N, 1, G, G) of the image's features and the render's, at both ends.
        mask: (N, 1, G, G) in [0, 1], the image's.
    """

    displacement: Tensor
    cosine: Tensor
    mask: Tensor

    def __getitem__(self, index: int) -> Warps:
        """One of them, as a batch of one."""
        rows = slice(index, index + 1)
        return Warps(self.displacement[rows], self.cosine[rows], self.mask[rows])


@dataclass(frozen=True)
class _Level:
    """A problem of N grids of K x K nodes: similarities at their places, what they weigh, and what ties them."""

    mask: Tensor
    tied: Membrane
    options: WarpOptions
    scale: Tensor

    def loss(self, displacement: Tensor, similarity: Tensor) -> Tensor:
        """(N,), times the mask's area."""
        options, distance = self.options, 1 - similarity
        semantic = (self.mask * distance / (1 + distance / self.scale)).sum(dim=(1, 2, 3))
        shrinkage = (self.mask * displacement.square()).sum(dim=(1, 2, 3))
        tension = options.stiffness(displacement.shape[-1]) * self.tied.energy(displacement)
        return options.semantic * semantic + tension + options.shrinkage * shrinkage


@torch.no_grad()
def find_warps(
    features: Tensor,
    mask: Tensor,
    rendered: Tensor,
    rendered_mask: Tensor,
    options: WarpOptions | None = None,
    *,
    tick: Tick = no_tick,
) -> Warps:
    """Warp N images to their renders through the same windows, from their smoothed nearest neighbours on.

    Args:
        features: (N, C, g, g) of the images.
        mask: (N, 1, g, g) in [0, 1], where the images show the object; an image without any is not warped.
        rendered: (N, C, g, g) of the renders.
        rendered_mask: (N, 1, g, g) in [0, 1].
        options: the defaults if None.
        tick: called after every step, at least every few tenths of a second; may raise.
    """
    options = options or WarpOptions()
    parts = []
    at_once = max(1, _TABLE_VALUES // (features[0, 0].numel() ** 2))
    for start in range(0, len(features), at_once):
        rows = slice(start, start + at_once)
        parts.append(_warped(features[rows], mask[rows], rendered[rows], rendered_mask[rows], options, tick))
    return Warps(
        torch.cat([part.displacement for part in parts]),
        torch.cat([part.cosine for part in parts]),
        torch.cat([part.mask for part in parts]),
    )


def _warped(
    features: Tensor, mask: Tensor, rendered: Tensor, rendered_mask: Tensor, options: WarpOptions, tick: Tick
) -> Warps:
    tied = Membrane.over(features, mask)
    displacement = smooth_start(features, mask, rendered, rendered_mask, tied, tick=tick)
    tick()
    pyramid = SimilarityPyramid(features, mask, rendered, rendered_mask)
    for size in options.levels:
        displacement = interpolate(displacement, (size, size), mode="bilinear", antialias=True)
        seen = pyramid.at(size)
        displacement = _minimised(displacement, seen, tied.within(seen.mask), options, tick)
    own = identity_grid(size, size, device=features.device).permute(2, 0, 1)
    return Warps(displacement, seen.read(own + displacement).similarity.unsqueeze(1), seen.mask)


def _minimised(displacement: Tensor, seen: Similarities, tied: Membrane, options: WarpOptions, tick: Tick) -> Tensor:
    mask = seen.mask
    own = identity_grid(*mask.shape[2:], device=mask.device).permute(2, 0, 1)
    reading = seen.read(own + displacement)
    similarity = reading.similarity.unsqueeze(1)
    level = _Level(mask, tied, options, _scales(1 - similarity, mask, options))
    loss = level.loss(displacement, similarity)
    damping = torch.full_like(loss, _DAMPING)[:, None, None, None]
    for _ in range(options.steps):
        step = _step(level, displacement, reading, damping)
        tried = displacement + step
        there = seen.read(own + tried)
        tried_loss = level.loss(tried, there.similarity.unsqueeze(1))
        better = tried_loss < loss
        rows = better[:, None, None, None]
        displacement, loss = torch.where(rows, tried, displacement), torch.where(better, tried_loss, loss)
        reading = there.where(better, reading)
        damping = (damping * torch.where(rows, _LESS, _MORE)).clamp(_LEAST_DAMPING, _MOST_DAMPING)
        tick()
    return displacement


def _step(level: _Level, displacement: Tensor, reading: Reading, damping: Tensor) -> Tensor:
    options = level.options
    distance = 1 - reading.similarity.unsqueeze(1)
    weight = options.semantic * level.mask / (1 + distance / level.scale).square()
    stiff = level.tied.times(2 * options.stiffness(displacement.shape[-1]))
    shrinkage = 2 * options.shrinkage * level.mask
    forces = weight * reading.gradient - stiff.pull(displacement) - shrinkage * displacement
    springs = weight * reading.curvature
    held = shrinkage + damping * (springs[:, :1] + springs[:, 2:])
    springs = springs + torch.cat([held, torch.zeros_like(held), held], dim=1)
    return solve(springs, stiff, forces, steps=options.solver_steps)


def _scales(distance: Tensor, mask: Tensor, options: WarpOptions) -> Tensor:
    """Distances (N, 1, 1, 1) that cost half: a multiple of the median over each mask."""
    if options.outlier is None:
        return torch.full_like(mask[:, :1, :1, :1], torch.inf)
    inside = torch.where(mask >= _SHOWN, distance, torch.nan)
    median = inside.flatten(1).nanmedian(dim=1).values.nan_to_num(1.0)
    return options.outlier * median.clamp_min(_LEAST_SCALE)[:, None, None, None]
