"""Where crops of a picture may lie (arXiv 2305.15581, official code)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch

Window = tuple[int, int]
"""Left and upper edge of a crop, in pixels of the square."""
Place = tuple[float, float]
"""x, y in pixels of the square."""

_MARGIN = 0.15
_OFFSETS = 8


@dataclass(frozen=True)
class Crops:
    """Square crops of `side` pixels from a square of `size`, with a point at least `margin` from their edge, if it can
    be."""

    size: int
    side: int
    margin: int

    @property
    def free(self) -> int:
        """Largest offset of a crop."""
        return self.size - self.side

    def starts(self, place: float) -> tuple[int, int]:
        """First and last offset, along one axis, of the crops for a point at `place`."""
        first = min(max(0.0, place - self.side + self.margin), self.free)
        last = min(max(0.0, place - self.margin), self.free)
        return int(first), int(last)

    def draw(self, place: Place, generator: torch.Generator) -> Window:
        """Draw a crop for a point: x first, then y."""
        x, y = (
            int(torch.randint(first, last + 1, (1,), generator=generator)) for first, last in map(self.starts, place)
        )
        return x, y

    def corners(self) -> list[Window]:
        """The four outermost crops, which cover the picture; in the order of the official code."""
        return list(dict.fromkeys([(0, 0), (0, self.free), (self.free, 0), (self.free, self.free)]))

    def bank(self, count: int, generator: torch.Generator) -> list[Window]:
        """Choose crops on a grid of 8 x 8 offsets: the corners, then others at random, `count` at most."""
        offsets = sorted({round(step * self.free / (_OFFSETS - 1)) for step in range(_OFFSETS)})
        corners = self.corners()
        others = [window for window in product(offsets, offsets) if window not in corners]
        order = torch.randperm(len(others), generator=generator).tolist()
        return (corners + [others[index] for index in order])[:count]

    def for_point(self, place: Place, windows: Sequence[Window]) -> list[Window]:
        """Those of the crops that `starts` allows for a point; where there is none, those that come nearest."""
        ranges = [self.starts(axis) for axis in place]
        misses = [
            sum(max(first - start, start - last, 0) for start, (first, last) in zip(window, ranges, strict=True))
            for window in windows
        ]
        return [window for window, miss in zip(windows, misses, strict=True) if miss == min(misses)]


def crops_of(size: int, percent: float) -> Crops:
    """Crops of a share of the square's side: of 512 pixels and the official percentage 477, with a margin of 71."""
    side = int(size * percent / 100)
    return Crops(size, side, int(side * _MARGIN))
