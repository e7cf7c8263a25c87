"""A training step and the instance matching distance: ours beside the official form, on the same inputs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.evaluation.official_geo_aware import Seen, aggregated, described, mirrored, pair_loss, stacked
from workers.evaluation.official_imd import RESOLUTION, official_imd
from workers.methods.geo_aware.imd import imd
from workers.methods.geo_aware_adapter.network import OFFICIAL_CHANNELS, OFFICIAL_GROUPS, Adapter
from workers.methods.geo_aware_adapter.objective import TERMS, Keypoints, Pairing, Weights, pair_losses

T = TypeVar("T")

CELLS = 60
GRIDS = (60, 30, 15, 60)
KEYPOINTS = 16
NOISE = 0.1
SIDE_CELLS = 20.0
WEIGHTS = Weights()


@dataclass(frozen=True)
class Compared:
    """CPU seconds of both forms, and how far their results are apart."""

    what: str
    reference_s: float
    ours_s: float
    difference: float

    @property
    def speedup(self) -> float:
        """How many times faster ours is."""
        return self.reference_s / self.ours_s


def compare_training_step(images: int = 4, *, repeats: int = 3) -> Compared:
    """Loss and gradient of all pairs of some images of the official size, 3968 channels and 60 x 60 cells.

    The official form sees four pictures a pair; ours sees every picture and its mirror image once. `difference` is the
    length of the difference of both gradients as a share of the gradient's length.
    """
    scene = _Scene(images)
    reference_s, expected = _median(scene.official, 1)
    ours_s, found = _median(scene.ours, repeats)
    one, other = (torch.cat([gradient.flatten() for gradient in form]) for form in (found, expected))
    difference = float((one - other).norm() / other.norm())
    what = f"training step, {images * (images - 1) // 2} pairs of {images} images"
    return Compared(what, reference_s, ours_s, difference)


@torch.no_grad()
def compare_imd(masked: int = 64, *, repeats: int = 5) -> Compared:
    """The distance of so many masked cells to all of 64 x 64, of 3968 channels."""
    generator = torch.Generator().manual_seed(0)
    source, target = (
        normalize(torch.randn(sum(OFFICIAL_CHANNELS), RESOLUTION, RESOLUTION, generator=generator), dim=0)
        for _ in range(2)
    )
    mask = torch.zeros(RESOLUTION * RESOLUTION, dtype=torch.bool)
    mask[torch.randperm(len(mask), generator=generator)[:masked]] = True
    mask = mask.view(RESOLUTION, RESOLUTION)
    reference_s, expected = _median(lambda: official_imd(source, target, mask), 1)
    ours_s, found = _median(lambda: imd(source, target, mask), repeats)
    return Compared(f"instance matching distance, {masked} cells", reference_s, ours_s, abs(found - expected))


class _Scene:
    """Random pictures of one category with their keypoints, and an adapter."""

    def __init__(self, images: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.blocks, self.mirrored = (
            [torch.randn(images, c, g, g, generator=generator) for c, g in zip(OFFICIAL_CHANNELS, GRIDS, strict=True)]
            for _ in range(2)
        )
        self.points = torch.rand(images, KEYPOINTS, 2, generator=generator) * CELLS
        self.visible = torch.ones(images, KEYPOINTS, dtype=torch.bool)
        self.becomes = torch.arange(KEYPOINTS) ^ 1
        self.pairs = torch.combinations(torch.arange(images))
        self.noise = torch.randn(len(self.pairs), TERMS, KEYPOINTS, 2, generator=generator)
        torch.manual_seed(0)
        self.adapter = Adapter(OFFICIAL_CHANNELS)

    def ours(self) -> list[Tensor]:
        """Gradients of the mean loss over the pairs."""
        sides = torch.full((len(self.points),), SIDE_CELLS)
        known = Keypoints(self.points, self.visible, sides).with_mirrored(
            self.becomes.expand(len(self.points), -1), CELLS
        )
        pairing = Pairing(self.pairs[:, 0], self.pairs[:, 1], self.noise, NOISE)
        views = [torch.cat(both) for both in zip(self.blocks, self.mirrored, strict=True)]
        maps = self.adapter.describe(views, CELLS)
        return self._gradients(
            pair_losses(maps, known, pairing, WEIGHTS, self.adapter.logit_scale, subcell=False).total
        )

    def official(self) -> list[Tensor]:
        """The same, pair by pair."""
        total: list[Tensor] = []
        for (first, second), noise in zip(self.pairs.tolist(), self.noise, strict=True):
            seen = [self._seen(image, flip=flip) for flip in (False, True) for image in (first, second)]
            loss = pair_loss(
                *seen,
                weights=(WEIGHTS.double_flip, WEIGHTS.self_flip, WEIGHTS.single_flip),
                scale=self.adapter.logit_scale.exp(),
                noise=noise * NOISE * SIDE_CELLS / 2,
            )
            found = self._gradients(loss / len(self.pairs))
            total = [one + other for one, other in zip(total, found, strict=True)] if total else found
        return total

    def _seen(self, image: int, *, flip: bool) -> Seen:
        stack = stacked([block[image : image + 1] for block in (self.mirrored if flip else self.blocks)], CELLS)
        known = self.points[image], self.visible[image]
        places, visible = mirrored(*known, self.becomes, CELLS) if flip else known
        weights: dict[str, Tensor] = dict(self.adapter.named_parameters())
        maps = described(aggregated(weights, stack, OFFICIAL_CHANNELS, groups=OFFICIAL_GROUPS))
        return Seen(maps[0], places, visible, SIDE_CELLS)

    def _gradients(self, loss: Tensor) -> list[Tensor]:
        parameters = [value for name, value in self.adapter.named_parameters() if name != "self_logit_scale"]
        return list(torch.autograd.grad(loss, parameters))


def _median(form: Callable[[], T], repeats: int) -> tuple[float, T]:
    """Median CPU seconds of some runs, and the result."""
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        result = form()
        seconds.append(time.process_time() - began)
    return sorted(seconds)[len(seconds) // 2], result
