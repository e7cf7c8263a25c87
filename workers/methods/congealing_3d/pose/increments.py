"""Descent over camera poses: small changes of many cameras at once, each of which keeps its best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.geometry.cameras import Cameras, exponential, joined

_POSE = 6
_END_RATE = 0.05


@dataclass(frozen=True)
class Descent:
    """Where a descent of V cameras ended.

    Attributes:
        cameras: the best of each way.
        first: (V,) losses at the start.
        best: (V,) losses of `cameras`, never above `first`.
    """

    cameras: Cameras
    first: Tensor
    best: Tensor


def moved(cameras: Cameras, increments: Tensor) -> Cameras:
    """Change V cameras a little.

    Args:
        cameras: where they stand.
        increments: (V, 6) or (V, 7). Three for the rotation, an axis times an angle in radians in the camera's axes,
            about the canonical origin; three for the translation in units of its length; and the logarithm of what
            the focal length is multiplied by. The distance grows with it, so that the size in the picture stays.
    """
    rotation = exponential(increments[:, :3]) @ cameras.rotation
    unit = cameras.translation.norm(dim=1, keepdim=True)
    translation = cameras.translation + increments[:, 3:_POSE] * unit
    if increments.shape[1] == _POSE:
        return Cameras(rotation, translation, cameras.focal)
    zoom = increments[:, _POSE].exp()
    scale = torch.stack([torch.ones_like(zoom), torch.ones_like(zoom), zoom], dim=1)
    return Cameras(rotation, translation * scale, cameras.focal * zoom)


def descend(
    cameras: Cameras,
    loss: Callable[[Cameras], Tensor],
    *,
    steps: int,
    rate: float,
    free_focal: bool = False,
    tick: Tick = no_tick,
) -> Descent:
    """Lower the losses (V,) of V cameras, each on its own, by Adam whose rate falls along half a cosine.

    Args:
        cameras: to begin with.
        loss: of all cameras, differentiable.
        steps: of Adam.
        rate: of the first step, in radians and shares of the distance.
        free_focal: change focal lengths too.
        tick: called every step.
    """
    with torch.enable_grad():
        increments = torch.zeros(len(cameras), _POSE + free_focal, device=cameras.focal.device, requires_grad=True)
        optimiser = torch.optim.Adam([increments], lr=rate)
        first = loss(cameras).detach()
        best, kept = first.clone(), increments.detach().clone()
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate * _share(step / steps)
            optimiser.zero_grad()
            values = loss(moved(cameras, increments))
            _keep_better(values.detach(), increments.detach(), best, kept)
            values.sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            tick()
        _keep_better(loss(moved(cameras, increments)).detach(), increments.detach(), best, kept)
    return Descent(moved(cameras, kept), first, best)


def in_blocks(images: Tensor, refine: Callable[[Tensor], Descent], *, most: int) -> Descent:
    """Refine V poses, whose images are `images` (V,), in the runs of `by_image`; `refine` gets the poses' numbers."""
    parts = [refine(rows) for rows in by_image(images, most=most)]
    back = places_in(images)
    first, best = (torch.cat(each)[back] for each in zip(*((part.first, part.best) for part in parts), strict=True))
    return Descent(joined([part.cameras for part in parts])[back], first, best)


def by_image(images: Tensor, *, most: int) -> Sequence[Tensor]:
    """Cut poses (V,), V >= 1, into runs of at most `most`, those of one image side by side."""
    return torch.split(torch.argsort(images, stable=True), max(1, most))


def places_in(images: Tensor) -> Tensor:
    """Where each pose (V,) comes when the runs of `by_image` are joined."""
    return torch.argsort(torch.argsort(images, stable=True))


def _share(progress: float) -> float:
    return _END_RATE + (1 - _END_RATE) * (1 + math.cos(math.pi * progress)) / 2


def _keep_better(values: Tensor, increments: Tensor, best: Tensor, kept: Tensor) -> None:
    """Note, in place, what is better than the best so far."""
    is_better = values < best
    best[is_better] = values[is_better]
    kept[is_better] = increments[is_better]
