"""Features of all candidate poses, computed once for all images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.backbones.base import Backbone, Tick, no_tick
from workers.geometry.cameras import Cameras
from workers.matching.projection import Projection, fit_projection
from workers.memory import is_out_of_memory
from workers.methods.congealing_3d.pose.grid import PoseGrid, tight_windows
from workers.methods.features import describe
from workers.rendering.surface import Surface
from workers.rendering.views import look

BACKGROUND = 1.0
"""Grey around objects in renders and in masked crops alike: features look beyond the object's border."""
_BATCH = 16
_FITTED = 96

Step = Callable[[int, int], None]
"""Told how many of how many views are done."""


def _silent(_message: str) -> None:
    """Say nothing."""


def no_step(_done: int, _total: int) -> None:
    """Tell nobody."""


@dataclass(frozen=True)
class DescribeOptions:
    """How crops are described.

    Attributes:
        size: pixels S of a crop's side.
        cells: features g along a crop's side.
        dim: principal components that are kept.
    """

    size: int = 128
    cells: int = 32
    dim: int = 128


@dataclass(frozen=True)
class Bank:
    """K candidates with their features on a grid of g x g cells.

    Attributes:
        grid: the candidates' cameras.
        windows: (K, 3) through which they were drawn, tight around the shape.
        features: (K, C, g, g) unit vectors, 0 where the shape is not seen.
        masks: (K, 1, g, g) in [0, 1].
        projection: from the backbone's features to these.
    """

    grid: PoseGrid
    windows: Tensor
    features: Tensor
    masks: Tensor
    projection: Projection

    def __len__(self) -> int:
        """Count the candidates."""
        return len(self.masks)


class SurfaceReader:
    """Describes views of a surface as crops of photographs are described."""

    def __init__(
        self, surface: Surface, backbone: Backbone, options: DescribeOptions, *, log: Callable[[str], None] = _silent
    ) -> None:
        """Draw `surface` and describe it by `backbone`; `log` is told when memory runs short."""
        self.surface = surface
        self.backbone = backbone
        self.options = options
        self.batch = _BATCH
        self._log = log

    def seen(
        self,
        cameras: Cameras,
        windows: Tensor,
        projection: Projection,
        *,
        tick: Tick = no_tick,
        step: Step = no_step,
    ) -> tuple[Tensor, Tensor]:
        """Describe V views.

        Args:
            cameras: V of them.
            windows: (V, 3) through which they look.
            projection: of the features.
            tick: shows life.
            step: is told how many of the V views are done.

        Returns:
            Unit features (V, C, g, g), 0 where the shape is not seen, and masks (V, 1, g, g).
        """
        cells = self.options.cells
        features = windows.new_zeros(len(cameras), len(projection.basis), cells, cells)
        masks = windows.new_zeros(len(cameras), 1, cells, cells)
        for rows, raw, mask in self._described(cameras, windows, tick):
            features[rows] = projection(raw) * (mask > 0)
            masks[rows] = mask
            step(rows.stop, len(cameras))
        return features, masks

    def fitted(self, grid: PoseGrid, windows: Tensor, *, tick: Tick = no_tick) -> Projection:
        """Fit principal components to views all around."""
        spread = torch.linspace(0, len(windows) - 1, min(_FITTED, len(windows))).long()
        parts = [(raw, mask) for _, raw, mask in self._described(grid.cameras[spread], windows[spread], tick)]
        features, masks = (torch.cat(each) for each in zip(*parts, strict=True))
        return fit_projection(features, masks, dim=self.options.dim, whitening=0, tick=tick)

    def _described(self, cameras: Cameras, windows: Tensor, tick: Tick) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Backbone's features (v, C, g, g) and masks (v, 1, g, g), some views at a time."""
        done = 0
        while done < len(cameras):
            rows = slice(done, min(len(cameras), done + self.batch))
            try:
                rgb, mask = look(self.surface, cameras[rows], windows[rows], self.options.size, background=BACKGROUND)
                raw = describe(self.backbone, rgb, cells=self.options.cells, tick=tick)
            except Exception as error:
                if self.batch == 1 or not is_out_of_memory(error):
                    raise
                self._halve()
                continue
            done = rows.stop
            tick()
            yield rows, raw, adaptive_avg_pool2d(mask, self.options.cells)

    def _halve(self) -> None:
        self.batch //= 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self._log(f"Memory ran out for {2 * self.batch} views at once; going on with {self.batch}.")


def build_bank(reader: SurfaceReader, grid: PoseGrid, *, tick: Tick = no_tick, step: Step = no_step) -> Bank:
    """Draw and describe all candidates."""
    windows = tight_windows(reader.surface, grid.cameras)
    projection = reader.fitted(grid, windows, tick=tick)
    features, masks = reader.seen(grid.cameras, windows, projection, tick=tick, step=step)
    return Bank(grid, windows, features, masks, projection)
