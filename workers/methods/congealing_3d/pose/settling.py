"""Poses settled by least squares over matches, where features tell places well.

Another instance of a kind is longer here and taller there than the shape, and a rigid pose that shall bring all of it
into place turns to make up for that. So the shape may stretch a little along its axes while the pose is sought, and
cells count by how well they match: what only one of the two has is like nothing on the other.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.geometry.cameras import Cameras, exponential, joined
from workers.methods.congealing_3d.pose.feature_refinement import (
    FeatureMatching,
    MatchingOptions,
    Targets,
    poses_at_once,
)
from workers.methods.congealing_3d.pose.increments import by_image, places_in
from workers.methods.congealing_3d.pose.observation import Observations, SurfaceSamples

_ANYWHERE = 2.0
"""Radius in halves of the crop within which a cell's likes are sought: all of it."""
_TYPICAL = 0.8
_NEAREST = 1e-3
_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-8, 1e6
_MORE, _LESS = 8.0, 0.25


@dataclass(frozen=True)
class SettlingOptions:
    """How poses are settled.

    Attributes:
        spread: images whose cells are like places farther apart than this, in canonical units, are left as they are.
        rounds: of matching; what is visible changes with the pose.
        steps: of Gauss-Newton in each round.
        outlier: distance in halves of the crop from which on a cell pulls less and less (Geman and McClure).
        contrast: by how much, as an exponent, a cell that is like nothing counts less than one that is as like its
            match as the best fifth are.
        stretch: weight of the squared shares by which the shape stretches, beside the mean squared distance.
        matching: how features are compared.
    """

    spread: float = 0.06
    rounds: int = 4
    steps: int = 6
    outlier: float = 0.2
    contrast: float = 20.0
    stretch: float = 0.03
    matching: MatchingOptions = field(default_factory=MatchingOptions)


@dataclass(frozen=True)
class Placement:
    """V cameras, and the shares (V, 3) by which the shape is longer along each axis than it was given."""

    cameras: Cameras
    stretch: Tensor

    def where(self, better: Tensor, other: Placement) -> Placement:
        """These of the better (V,) bool, the others of another."""
        cameras = self.cameras.where(better, other.cameras)
        return Placement(cameras, torch.where(better[:, None], self.stretch, other.stretch))


@dataclass(frozen=True)
class Problem:
    """What a round minimises for V poses: where U cells are, and where their matches shall be seen.

    Attributes:
        places: (V, U, 2) of the cells, in picture coordinates.
        half: (V,) half sides of the crops.
        points: (V, U, 3), the places of the shape that they show.
        weights: (V, U), a share of 1 for each cell.
        outlier: see `SettlingOptions`.
        stretch: see `SettlingOptions`.
    """

    places: Tensor
    half: Tensor
    points: Tensor
    weights: Tensor
    outlier: float
    stretch: float

    @classmethod
    def of(cls, targets: Targets, options: SettlingOptions) -> Problem:
        """Weigh matches."""
        known = torch.where(targets.weights > 0, targets.cosines, torch.nan)
        typical = known.nanquantile(_TYPICAL, dim=1, keepdim=True)
        missing = 1 - (targets.cosines / typical.clamp_min(1e-6)).clamp(0, 1)
        weights = targets.weights * torch.exp(-options.contrast * missing)
        shares = (weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-9)).nan_to_num(0.0)
        return cls(targets.places, targets.half, targets.points, shares, options.outlier, options.stretch)

    def loss(self, placement: Placement) -> Tensor:
        """Robust mean squared distance, in halves of the crop, and what the stretch costs, (V,)."""
        squared = self.away(placement)[0].square().sum(dim=-1)
        limit = self.outlier**2
        distance = (self.weights * limit * squared / (squared + limit)).sum(dim=1)
        return distance + self.stretch * placement.stretch.square().sum(dim=1)

    def step(self, placement: Placement, damping: Tensor) -> Placement:
        """A Gauss-Newton step, damped (V,) as by Levenberg and Marquardt."""
        away, seen = self.away(placement)
        slopes = self.slopes(placement, seen)
        limit = self.outlier**2
        weights = self.weights * (limit / (limit + away.square().sum(dim=-1))).square()
        normal = torch.einsum("vuai,vu,vuaj->vij", slopes, weights, slopes)
        force = torch.einsum("vuai,vu,vua->vi", slopes, weights, away)
        held = torch.cat([normal.new_zeros(6), normal.new_full((3,), self.stretch)])
        normal = normal + torch.diag(held)
        force[:, 6:] -= self.stretch * placement.stretch
        diagonal = normal.diagonal(dim1=1, dim2=2)
        ridge = damping[:, None] * diagonal + 1e-9
        change = torch.linalg.solve(normal + torch.diag_embed(ridge), force)
        cameras = placement.cameras
        unit = cameras.translation.norm(dim=1, keepdim=True)
        moved = Cameras(
            exponential(change[:, :3]) @ cameras.rotation, cameras.translation + change[:, 3:6] * unit, cameras.focal
        )
        return Placement(moved, placement.stretch + change[:, 6:])

    def away(self, placement: Placement) -> tuple[Tensor, Tensor]:
        """From where the matches are seen to their cells (V, U, 2), in halves of the crop; and they in camera axes."""
        seen = placement.cameras.see(self.points * (1 + placement.stretch[:, None]))
        at = seen[..., :2] / seen[..., 2:].clamp_min(_NEAREST) * placement.cameras.focal[:, None, None]
        return (self.places - at) / self.half[:, None, None], seen

    def slopes(self, placement: Placement, seen: Tensor) -> Tensor:
        """Derivatives (V, U, 2, 9) of where the matches are seen, by rotation, translation and stretch."""
        cameras = placement.cameras
        depth = seen[..., 2].clamp_min(_NEAREST)
        scale = (cameras.focal / self.half)[:, None] / depth
        flat = torch.zeros_like(scale)
        across = torch.stack([scale, flat, -scale * seen[..., 0] / depth], dim=-1)
        down = torch.stack([flat, scale, -scale * seen[..., 1] / depth], dim=-1)
        x, y, z = (seen - cameras.translation[:, None]).unbind(dim=-1)
        turned = torch.stack([flat, z, -y, -z, flat, x, y, -x, flat], dim=-1).view(*flat.shape, 3, 3)
        unit = cameras.translation.norm(dim=1)[:, None, None, None]
        shifted = unit * torch.eye(3, device=seen.device).expand(*scale.shape, 3, 3)
        longer = cameras.rotation[:, None] * self.points.unsqueeze(-2)
        return torch.stack([across, down], dim=-2) @ torch.cat([turned, shifted, longer], dim=-1)


def minimised(problem: Problem, placement: Placement, *, steps: int) -> Placement:
    """Lower the losses of V poses, each on its own; none rises."""
    loss = problem.loss(placement)
    damping = torch.full_like(loss, _DAMPING)
    for _ in range(steps):
        tried = problem.step(placement, damping)
        tried_loss = problem.loss(tried)
        better = tried_loss < loss
        placement, loss = tried.where(better, placement), torch.where(better, tried_loss, loss)
        damping = (damping * torch.where(better, _LESS, _MORE)).clamp(_LEAST_DAMPING, _MOST_DAMPING)
    return placement


@torch.no_grad()
def settle(
    observations: Observations,
    samples: SurfaceSamples,
    cameras: Cameras,
    images: Tensor,
    *,
    options: SettlingOptions | None = None,
    tick: Tick = no_tick,
) -> tuple[Cameras, Tensor]:
    """Settle V poses.

    Args:
        observations: N images.
        samples: of the canonical surface; about a thousand do.
        cameras: V poses, about right.
        images: (V,), which image each is of.
        options: the defaults if None.
        tick: called every round.

    Returns:
        The poses, and (V,) bool, which images' features tell places well enough for that; the others are as they were.
    """
    options = options or SettlingOptions()

    def settled(rows: Tensor) -> tuple[Cameras, Tensor]:
        matching = FeatureMatching(observations, samples, images[rows], options.matching)
        sharp = matching.spread() <= options.spread
        if not sharp.any():
            return cameras[rows], sharp
        start = Placement(cameras[rows], cameras.translation.new_zeros(len(rows), 3))
        placement = start
        for _ in range(options.rounds):
            problem = Problem.of(matching.at(placement.cameras, _ANYWHERE), options)
            placement = minimised(problem, placement, steps=options.steps)
            tick()
        return placement.where(sharp, start).cameras, sharp

    parts = [settled(rows) for rows in by_image(images, most=poses_at_once(samples, options.matching))]
    back = places_in(images)
    return joined([part for part, _ in parts])[back], torch.cat([sharp for _, sharp in parts])[back]
