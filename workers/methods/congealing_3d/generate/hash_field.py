"""The field on hashed grids (Mueller et al., Instant Neural Graphics Primitives, 2022), as MVDream's own code sets it.

Eight gathers a level make it heavier than `GridField`; it is there for closeness to the published configuration.
"""

from __future__ import annotations

import math
from itertools import product

import torch
from torch import Tensor, nn

from workers.methods.congealing_3d.generate.field import HALF_SIDE, CanonicalField

LEVELS, FEATURES, TABLE, BASE, GROWTH = 16, 2, 1 << 19, 16, 1.447269237440378
_PRIMES = (1, 2_654_435_761, 805_459_861)
_WIDTH = 64
_ENTRIES_ROUNDED_TO = 8
_FIRST_FEATURES = 1e-4


class HashGrid(nn.Module):
    """Features of places on grids of growing fineness; fine grids share a table of entries by a hash."""

    def __init__(self, *, levels: int = LEVELS, table: int = TABLE, base: int = BASE, growth: float = GROWTH) -> None:
        """Begin with features near 0.

        Args:
            levels: number of grids.
            table: the most entries of a grid; a power of two.
            base: resolution of the coarsest grid.
            growth: factor from one grid's resolution to the next.
        """
        super().__init__()
        self.scales = [base * growth**level - 1 for level in range(levels)]
        self.resolutions = [math.ceil(scale) + 1 for scale in self.scales]
        self.entries = [min(table, _rounded_up(resolution**3)) for resolution in self.resolutions]
        self.is_dense = [resolution**3 <= table for resolution in self.resolutions]
        self.features = nn.Parameter(torch.empty(sum(self.entries), FEATURES))
        nn.init.uniform_(self.features, -_FIRST_FEATURES, _FIRST_FEATURES)

    @property
    def channels(self) -> int:
        """Features of a place."""
        return FEATURES * len(self.scales)

    def forward(self, places: Tensor) -> Tensor:
        """Features (P, channels) of places (P, 3) in [0, 1]."""
        # One split and one read a level: each further one would fill a gradient as large as the whole table.
        tables = torch.split(self.features, self.entries)
        return torch.cat([self._level(places, level, table) for level, table in enumerate(tables)], dim=-1)

    def _level(self, places: Tensor, level: int, table: Tensor) -> Tensor:
        position = places * self.scales[level] + 0.5
        corner = position.floor()
        offsets = torch.tensor(list(product((0, 1), repeat=3)), device=places.device)
        share = (position - corner).unsqueeze(1)
        weights = torch.where(offsets.bool(), share, 1 - share).prod(dim=-1, keepdim=True)
        rows = self._index(corner.long().unsqueeze(1) + offsets, level)
        read = table.index_select(0, rows.flatten()).view(*rows.shape, FEATURES)
        return (weights * read).sum(dim=1)

    def _index(self, corners: Tensor, level: int) -> Tensor:
        """Rows (...) within a level of whole-numbered corners (..., 3)."""
        x, y, z = corners.unbind(-1)
        if self.is_dense[level]:
            side = self.resolutions[level]
            return (x + side * (y + side * z)) % self.entries[level]
        return ((x * _PRIMES[0]) ^ (y * _PRIMES[1]) ^ (z * _PRIMES[2])) % self.entries[level]


class HashField(CanonicalField):
    """Density and colour by a small network each, on hashed features; 12 604 720 parameters by default."""

    def __init__(self, grid: HashGrid | None = None) -> None:
        """Begin with little more than the ball."""
        super().__init__()
        self.grid = grid or HashGrid()
        self.density_network = _network(self.grid.channels, 1)
        self.colour_network = _network(self.grid.channels, 3)

    def raw(self, points: Tensor) -> Tensor:
        """What is added to the ball's bias, and the colour before the sigmoid, (P, 4)."""
        features = self._features(points)
        return torch.cat([self.density_network(features), self.colour_network(features)], dim=-1)

    def raw_density(self, points: Tensor) -> Tensor:
        """The first column of `raw` alone, (P,)."""
        found: Tensor = self.density_network(self._features(points))
        return found[:, 0]

    def rate_groups(self) -> dict[str, list[nn.Parameter]]:
        """Parameters by kind: `grid`, `network` and `background`."""
        networks = [*self.density_network.parameters(), *self.colour_network.parameters()]
        return {"grid": [self.grid.features], "network": networks, "background": list(self.background.parameters())}

    def _features(self, points: Tensor) -> Tensor:
        x, y, z = (points / HALF_SIDE).unbind(-1)
        # The published code has z up.
        features: Tensor = self.grid((torch.stack([x, -z, y], dim=-1) + 1) / 2)
        return features


def _network(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, _WIDTH, bias=False), nn.ReLU(), nn.Linear(_WIDTH, out, bias=False))


def _rounded_up(count: int) -> int:
    return -(-count // _ENTRIES_ROUNDED_TO) * _ENTRIES_ROUNDED_TO
