"""The field on voxel grids: plain PyTorch, fast on every device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from workers.methods.congealing_3d.generate.field import HALF_SIDE, CanonicalField

DENSITY_GAIN = 10.0
_COLOUR_GAIN = 2.0
_CHANNELS = 4


class GridField(CanonicalField):
    """A sum of grids of density and colour, each finer than the one before; finer ones join in as time goes by.

    The sum learns coarse shape first, where a single fine grid would learn every cell on its own.
    """

    def __init__(self, cells: Sequence[int] = (32, 64, 128)) -> None:
        """Begin with nothing but the ball, grey, on grids of so many cells a side."""
        super().__init__()
        nodes = [count + 1 for count in cells]
        self.grids = nn.ParameterList(nn.Parameter(torch.zeros(1, _CHANNELS, n, n, n)) for n in nodes)
        self._used = len(nodes)

    def raw(self, points: Tensor) -> Tensor:
        """What is added to the ball's bias, and the colour before the sigmoid, (P, 4)."""
        gain = points.new_tensor([DENSITY_GAIN, _COLOUR_GAIN, _COLOUR_GAIN, _COLOUR_GAIN])
        return gain * self._read(points, slice(None))

    def raw_density(self, points: Tensor) -> Tensor:
        """The first column of `raw` alone, (P,)."""
        return DENSITY_GAIN * self._read(points, slice(0, 1))[:, 0]

    def use_levels(self, count: int) -> None:
        """Use the `count` coarsest grids."""
        self._used = count

    @property
    def detail_levels(self) -> int:
        """How many grids there are."""
        return len(self.grids)

    def rate_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by kind: `grid`, `network` and `background`."""
        return {"grid": list(self.grids), "network": [], "background": list(self.background.parameters())}

    def _read(self, points: Tensor, channels: slice) -> Tensor:
        places = (points / HALF_SIDE).view(1, 1, 1, -1, 3)
        levels = list(self.grids)[: self._used]
        read = [
            grid_sample(grid[:, channels], places.to(grid), padding_mode="border", align_corners=True)
            for grid in levels
        ]
        return torch.stack(read).sum(dim=0)[0, :, 0, 0].t()
