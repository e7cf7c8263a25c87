"""When what is trained: passes over the set in batches, first similarities and atlas, then flows too."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.methods.neural_congealing.network.options import NetworkOptions

STAGES = ("similarity", "flow")
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class Moment:
    """A place in the schedule.

    Attributes:
        epoch: passes over the set done.
        batch: batches of this pass done.
        flow: whether the flow is trained.
        step: steps done of this stage.
        total: steps of this stage.
    """

    epoch: int
    batch: int
    flow: bool
    step: int
    total: int


def steps_per_epoch(images: int, options: NetworkOptions) -> int:
    """Batches in a pass over so many images; the last may have fewer."""
    return -(-images // options.batch)


def stage_ends(images: int, options: NetworkOptions) -> tuple[int, int]:
    """Steps done when the similarity stage ends, and the flow stage."""
    steps = steps_per_epoch(images, options)
    return options.bootstrap_epochs * steps, (options.bootstrap_epochs + options.flow_epochs) * steps


def moment_at(done: int, images: int, options: NetworkOptions) -> Moment:
    """The place of the step after so many."""
    epoch, batch = divmod(done, steps_per_epoch(images, options))
    first_end, last_end = stage_ends(images, options)
    flow = done >= first_end
    start, end = (first_end, last_end) if flow else (0, first_end)
    return Moment(epoch, batch, flow, done - start, end - start)


def image_order(seed: int, epoch: int, images: int) -> Tensor:
    """The order of the images in a pass, (images,); depends on nothing but the seed and the pass."""
    generator = torch.Generator().manual_seed(seed * _SEED_STRIDE + epoch)
    return torch.randperm(images, generator=generator)


def is_due(epoch: int, interval: int) -> bool:
    """Whether something happens in this pass that happens every `interval` passes, first after that many."""
    return epoch > 0 and epoch % interval == 0
