"""A canonical field: density and colour of every place, learned by distillation.

Positions are canonical, in [-0.5, 0.5]^3. Densities are per half side of that cube, which is the unit of MVDream's own
distillation code (arXiv 2308.16512): light is weakened by exp(-density) along 0.5 of the canonical frame.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

HALF_SIDE = 0.5
"""Of the cube that the field fills."""
_BLOB_HEIGHT, _BLOB_RADIUS = 10.0, 0.25
_DIRECTION_CHANNELS, _BACKGROUND_WIDTH = 9, 16


class Volume(Protocol):
    """What can be rendered."""

    def density(self, points: Tensor) -> Tensor:
        """Density (P,) >= 0 per half side at points (P, 3)."""

    def shaded(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density (P,) and colour (P, 3) in [0, 1] at points (P, 3)."""


class CanonicalField(nn.Module, ABC):
    """A field with its background; subclasses say what lies behind `raw` and `raw_density`."""

    def __init__(self) -> None:
        """Make the background."""
        super().__init__()
        self.background = Background()

    def density(self, points: Tensor) -> Tensor:
        """Density (P,) at points (P, 3); it begins as a ball of radius 0.25."""
        return softplus(self.raw_density(points) + blob(points))

    def shaded(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Density (P,) and colour (P, 3) in [0, 1] at points (P, 3)."""
        raw = self.raw(points)
        return softplus(raw[:, 0] + blob(points)), torch.sigmoid(raw[:, 1:])

    @abstractmethod
    def raw(self, points: Tensor) -> Tensor:
        """What is added to the ball's bias, and the colour before the sigmoid, (P, 4)."""

    @abstractmethod
    def raw_density(self, points: Tensor) -> Tensor:
        """The first column of `raw` alone, (P,)."""

    def use_levels(self, count: int) -> None:
        """Use the `count` coarsest levels of detail, if there are levels that can be left out."""

    @property
    def detail_levels(self) -> int:
        """How many levels of detail `use_levels` tells apart."""
        return 1

    @abstractmethod
    def rate_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by kind: `grid`, `network` and `background`."""


class Background(nn.Module):
    """Colour of a direction: spherical harmonics up to degree 2 and a small network without biases."""

    def __init__(self) -> None:
        """Begin anywhere."""
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(_DIRECTION_CHANNELS, _BACKGROUND_WIDTH, bias=False),
            nn.ReLU(),
            nn.Linear(_BACKGROUND_WIDTH, _BACKGROUND_WIDTH, bias=False),
            nn.ReLU(),
            nn.Linear(_BACKGROUND_WIDTH, 3, bias=False),
        )

    def forward(self, directions: Tensor) -> Tensor:
        """Colour (R, 3) in [0, 1] of unit directions (R, 3)."""
        found: Tensor = self.network(harmonics(directions))
        return torch.sigmoid(found)


def blob(points: Tensor) -> Tensor:
    """Bias (P,) of the density before softplus: 10 at the origin, 0 at radius 0.25."""
    # The norm has no gradient at the origin, and none is asked for.
    radius: Tensor = points.norm(dim=-1)
    return _BLOB_HEIGHT * (1 - radius / _BLOB_RADIUS)


def harmonics(directions: Tensor) -> Tensor:
    """Real spherical harmonics (R, 9) of degrees 0 to 2 of unit directions (R, 3)."""
    x, y, z = directions.unbind(-1)
    return torch.stack(
        [
            torch.full_like(x, 0.28209479177387814),
            -0.48860251190291987 * y,
            0.48860251190291987 * z,
            -0.48860251190291987 * x,
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.94617469575756 * z * z - 0.31539156525252005,
            -1.0925484305920792 * x * z,
            0.5462742152960396 * (x * x - y * y),
        ],
        dim=-1,
    )
