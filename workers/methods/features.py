"""Feature maps of a set's working frames: what all methods begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from api_schemas.backbones import frame_cells
from workers.backbones.base import Backbone, Tick, no_tick
from workers.backbones.cache import FeatureCache, extract_cached
from workers.imaging.frames import WorkingFrames, letterboxed
from workers.methods.base import InputImage, UnfitImagesError
from workers.run_context import Run

BLANK_DEVIATION = 1.0
"""Standard deviation of the colours, in 0..255, below which a picture counts as blank."""


class Heartbeat:
    """A run that long computations within a step can touch, so that it shows life and can be canceled."""

    def __init__(self, run: Run) -> None:
        """Speak to `run`."""
        self._run = run
        self._last = (0, 1)

    @property
    def resume(self) -> dict[str, Tensor] | None:
        """The run's state to go on from."""
        return self._run.resume

    def stage(self, name: str) -> None:
        """Begin a stage."""
        self._last = (0, 1)
        self._run.stage(name)

    def step(
        self,
        step: int,
        total: int,
        *,
        state: Callable[[], dict[str, Tensor]] | None = None,
        **metrics: float,
    ) -> None:
        """Tell that a step is done."""
        self._last = (step, total)
        self._run.step(step, total, state=state, **metrics)

    def log(self, message: str) -> None:
        """Tell the user something."""
        self._run.log(message)

    def beat(self) -> None:
        """Show life within a step.

        Raises:
            JobCanceled: the run shall stop.
        """
        self._run.step(*self._last)


def describe(backbone: Backbone, pictures: Tensor, *, cells: int, tick: Tick = no_tick) -> Tensor:
    """Features (M, C, cells, cells) of frames (M, 3, S, S)."""
    return _in_cells(backbone.extract(pictures, tick=tick), cells)


def describe_set(
    backbone: Backbone,
    images: Sequence[InputImage],
    *,
    size: int,
    device: torch.device,
    pulse: Heartbeat,
    cache: FeatureCache | None = None,
) -> tuple[WorkingFrames, Tensor]:
    """Letterbox images into frames of `size` pixels a side and describe them: frames and features (N, C, c, c).

    Raises:
        UnfitImagesError: images show nothing at all; names them.
    """
    require_structure(images)
    frames = letterboxed([image.rgb for image in images], size, device)
    return frames, describe_frames(backbone, frames, pulse, cache)


def describe_frames(
    backbone: Backbone, frames: WorkingFrames, pulse: Heartbeat, cache: FeatureCache | None = None
) -> Tensor:
    """Features (N, C, cells, cells) of all frames, one at a time; those in the cache are not computed again."""
    count, cells = len(frames.pictures), frame_cells(backbone.stride, frames.size)
    described, known = [], 0
    for index in range(count):
        features, hits = extract_cached(backbone, frames.pictures[index : index + 1], cache, tick=pulse.beat)
        described.append(_in_cells(features, cells))
        known += hits
        pulse.step(index + 1, count)
    if known:
        pulse.log(f"Features of {known} of {count} images were at hand and not computed again.")
    return torch.cat(described)


def _in_cells(features: Tensor, cells: int) -> Tensor:
    if features.shape[-1] >= cells:
        return adaptive_avg_pool2d(features, cells)
    return interpolate(features, (cells, cells), mode="bilinear")


def require_structure(images: Sequence[InputImage]) -> None:
    """Refuse pictures that show nothing at all, such as a flat grey one.

    Raises:
        UnfitImagesError: names the blank pictures.
    """
    blank = [image.name for image in images if image.rgb.std(axis=(0, 1)).max() < BLANK_DEVIATION]
    if blank:
        raise UnfitImagesError(f"these images show nothing at all, take them out of the set: {', '.join(blank)}")
