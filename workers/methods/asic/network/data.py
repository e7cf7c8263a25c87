"""The set as training reads it, and the pairs and matches of a step."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.geometry.coordinates import normalised_to_index
from workers.geometry.flows import dense_flow
from workers.geometry.joint_splines import PairedPoints
from workers.methods.asic.network.canonical import flow_at, unit
from workers.methods.asic.network.objective import Batch
from workers.methods.asic.network.options import NetworkOptions

_HELD_OUT = 0.1


@dataclass(frozen=True)
class HeldOut:
    """M matches that training does not see.

    Attributes:
        images: (2, M), of either end.
        pixels: (2, M, 2), pixel indices there.
        weights: (M,), how much they count.
    """

    images: Tensor
    pixels: Tensor
    weights: Tensor

    def residual(self, flows: Tensor) -> float:
        """Weighted median of the partners' distances through flows (N, S, S, 2), as a share of how far all spread.

        Such a share does not fall when the flows shrink.
        """
        images, places = self.images.flatten(), flows.new_empty(self.images.numel(), 2)
        pixels = unit(self.pixels.flatten(0, 1), flows.shape[1])
        for image in range(len(flows)):
            rows = images == image
            places[rows] = flow_at(flows[image : image + 1], pixels[rows].unsqueeze(0))[0]
        spread = (places - places.mean(dim=0)).square().sum(dim=1).mean().sqrt()
        first, second = places.view(2, -1, 2)
        distances, order = (first - second).norm(dim=1).sort()
        below = self.weights[order].cumsum(dim=0)
        return float(distances[(below < below[-1] / 2).sum()] / spread)


@dataclass(frozen=True)
class TrainingSet:
    """N pictures and their matches.

    Attributes:
        pictures: (N, 3, S, S) in [-1, 1].
        masks: (N, S, S), 1 on the object, else 0.
        labels: (N, S, S), parts 0 .. n - 1, and n for the background.
        parts_count: n + 1.
        points_px: (N, N, K, 2), at [i, j] pixel indices in picture i of what matches those at [j, i] in picture j.
        visible: (N, N, K), how much a match counts; 0 for padding, which comes last.
        start: (N, S, S, 2), places to begin from; the pixels' own if None.
        held_out: matches for judging.
    """

    pictures: Tensor
    masks: Tensor
    labels: Tensor
    parts_count: int
    points_px: Tensor
    visible: Tensor
    start: Tensor | None
    held_out: HeldOut

    def pairs(self, count: int, generator: torch.Generator, *, compat: bool) -> Tensor:
        """Draw pairs (count, 2) of pictures, with replacement, in either order.

        With `compat` both pictures are drawn on their own, but never the same twice in all pairs; else only pairs
        with matches are drawn.
        """
        if not compat:
            return self._matched[torch.randint(len(self._matched), (count,), generator=generator)]
        while True:
            drawn = torch.randint(len(self.pictures), (count, 2), generator=generator)
            if (drawn[:, 0] != drawn[:, 1]).any():
                return drawn

    @cached_property
    def _matched(self) -> Tensor:
        """All pairs (M, 2) with matches, on the CPU."""
        return (self.visible[..., 0] > 0).nonzero().cpu()

    def batch(self, pairs: Tensor, slots: Tensor | None = None) -> Batch:
        """The pairs (P, 2), with the matches at slots (P, k) or all."""
        first, second = pairs.to(self.pictures.device).unbind(dim=1)
        both = torch.cat([first, second])
        source, target, visible = (
            self.points_px[first, second],
            self.points_px[second, first],
            self.visible[first, second],
        )
        if slots is not None:
            rows = torch.arange(len(slots), device=slots.device).unsqueeze(1)
            source, target, visible = source[rows, slots], target[rows, slots], visible[rows, slots]
        start = None if self.start is None else self.start[both]
        return Batch(self.pictures[both], self.masks[both], self.labels[both], source, target, visible, start)

    def slots(self, pairs: Tensor, count: int | None, generator: torch.Generator, *, compat: bool) -> Tensor | None:
        """Up to `count` slots (P, k) of each pair; with `compat` the first ones, else others each time. None: all."""
        if count is None or count >= self.visible.shape[2]:
            return None
        first, second = pairs.to(self.visible.device).unbind(dim=1)
        if compat:
            return torch.arange(count, device=first.device).expand(len(first), -1)
        return _visible_first(self.visible[first, second], generator)[:, :count]


def training_set(
    pictures: Tensor,
    masks: Tensor,
    labels: Tensor,
    matches: PairedPoints,
    start: Tensor | None,
    options: NetworkOptions,
    *,
    seed: int = 0,
) -> TrainingSet:
    """Bring a set to the size of training, put its matches in random order and hold a tenth out unless `compat`.

    Args:
        pictures: (N, 3, R, R) RGB in [0, 1].
        masks: (N, R, R), above 0.5 on the object.
        labels: (N, R, R), parts from 0, and -1 for the background.
        matches: of pairs of different pictures, each pair once.
        start: spline controls (N, 2, n, n) of maps to a common plane, or None.
        options: settings.
        seed: of the order, and of what is held out.

    Raises:
        ValueError: shapes that do not fit, fewer than two pictures, or no matches.
    """
    _check(pictures, masks, labels, matches, start)
    size, count = options.image_size, len(pictures)
    background = int(labels.max()) + 1
    labels = torch.where(labels < 0, background, labels).unsqueeze(1).float()
    smaller = size < pictures.shape[-1]
    resized, masks = (
        interpolate(maps, (size, size), mode="bilinear", antialias=smaller)
        for maps in (pictures.float(), masks.unsqueeze(1).float())
    )
    generator = torch.Generator().manual_seed(seed)
    weights = matches.weights.float()
    drawn = (torch.rand(weights.shape, generator=generator) < _HELD_OUT).to(weights.device)
    held = drawn & (weights > 0) & (not options.compat)
    held_weights, weights = weights[held], weights.masked_fill(held, 0)
    order = _visible_first(weights, generator)[:, : max(1, int((weights > 0).sum(dim=1).max()))]
    weights = weights.gather(1, order)
    if not (weights > 0).any():
        raise ValueError("there are no matches between the pictures; give matches of at least one pair")
    points = [normalised_to_index(p.float(), size=size) for p in (matches.first_points, matches.second_points)]
    points_px = weights.new_zeros(count, count, order.shape[1], 2)
    visible = weights.new_zeros(points_px.shape[:3])
    images = torch.stack([matches.first, matches.second])
    for (one, other), ends in zip((images, images.flip(0)), points, strict=True):
        ordered = ends.gather(1, order.unsqueeze(2).expand(-1, -1, 2))
        points_px[one, other] = ordered * (weights > 0).unsqueeze(2)
        visible[one, other] = weights.sign() if options.compat else weights
    rows, columns = held.nonzero(as_tuple=True)
    return TrainingSet(
        pictures=2 * resized.clamp(0, 1) - 1,
        masks=(masks.squeeze(1) > 0.5).float(),
        labels=interpolate(labels, (size, size), mode="nearest-exact").squeeze(1).long(),
        parts_count=background + 1,
        points_px=points_px,
        visible=visible,
        start=None if start is None else _start(start, size),
        held_out=HeldOut(images[:, rows], torch.stack([ends[rows, columns] for ends in points]), held_weights),
    )


def _start(controls: Tensor, size: int) -> Tensor:
    """Places (N, size, size, 2), which run from -1 to 1 between the outermost pixels' centres."""
    return (dense_flow(controls, size) * (size / (size - 1))).float()


def _visible_first(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Random orders (P, K) of slots with weights (P, K), those with weight 0 last."""
    keys = torch.rand(weights.shape, generator=generator).to(weights.device)
    return torch.where(weights > 0, keys, 2).argsort(dim=1, stable=True)


def _check(pictures: Tensor, masks: Tensor, labels: Tensor, matches: PairedPoints, start: Tensor | None) -> None:
    count = len(pictures)
    if count < 2:
        raise ValueError(f"{count} image given; an alignment needs at least 2")
    if pictures.dim() != 4 or pictures.shape[1] != 3 or pictures.shape[2] != pictures.shape[3]:
        raise ValueError(f"pictures are {tuple(pictures.shape)}; use (N, 3, R, R)")
    expected = (count, *pictures.shape[2:])
    for name, maps in (("masks", masks), ("labels", labels)):
        if tuple(maps.shape) != expected:
            raise ValueError(f"{name} are {tuple(maps.shape)}; use {expected}")
    if start is not None and (start.dim() != 4 or start.shape[:2] != (count, 2)):
        raise ValueError(f"start controls are {tuple(start.shape)}; use ({count}, 2, n, n)")
    named = [tuple(sorted(pair)) for pair in zip(matches.first.tolist(), matches.second.tolist(), strict=True)]
    if any(one == other or one < 0 or other >= count for one, other in named) or len(set(named)) < len(named):
        raise ValueError(f"matches are of pairs {named[:5]}...; name pairs of two of the {count} pictures, each once")
