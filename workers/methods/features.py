"""Feature maps of a set's working frames: what all methods begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from workers.backbones.base import Backbone, Tick, no_tick
from workers.backbones.cache import FeatureCache, extract_cached
from workers.imaging.frames import WorkingFrames, letterboxed
from workers.methods.base import InputImage
from workers.run_context import Run

MAX_CELLS = 96
MIN_VARIED = 2
BLANK_DEVIATION = 1e-6


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


def frame_cells(backbone: Backbone, size: int) -> int:
    """Cells a side of the features of frames of `size` pixels; at most 96, so that memory stays bounded."""
    return min(MAX_CELLS, round(size / backbone.stride))


def describe(backbone: Backbone, picture: Tensor, *, cells: int, tick: Tick = no_tick) -> Tensor:
    """Features (1, C, cells, cells) of a frame (1, 3, S, S)."""
    return _in_cells(backbone.extract(picture, tick=tick), cells)


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
        ValueError: fewer than two of the images show anything; names the blank ones.
    """
    frames = letterboxed([image.rgb for image in images], size, device)
    features = describe_frames(backbone, frames, pulse, cache)
    require_structure(features, [image.name for image in images])
    return frames, features


def describe_frames(
    backbone: Backbone, frames: WorkingFrames, pulse: Heartbeat, cache: FeatureCache | None = None
) -> Tensor:
    """Features (N, C, cells, cells) of all frames, one at a time; those in the cache are not computed again."""
    count, cells = len(frames.pictures), frame_cells(backbone, frames.size)
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


def require_structure(features: Tensor, names: Sequence[str]) -> None:
    """Refuse a set in which fewer than two pictures show anything at all.

    Args:
        features: (N, C, h, w) of the pictures.
        names: of the pictures, for the message.

    Raises:
        ValueError: names the blank pictures.
    """
    varied = (features.flatten(2).std(dim=2).amax(dim=1) > BLANK_DEVIATION).tolist()
    if sum(varied) < MIN_VARIED:
        blank = [name for name, is_varied in zip(names, varied, strict=True) if not is_varied]
        raise ValueError(f"at least {MIN_VARIED} images must show something; these are blank: {', '.join(blank)}")
