"""Smooth fields on a grid: a membrane whose nodes are held by springs, solved for many images at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize, pad

_LOOSE, _SHOWN = 0.05, 0.5
_EDGE, _LEAST_DISTANCE = 3.0, 1e-3
_TINY = 1e-20
_LEAST_DETERMINANT = 1e-6


@dataclass(frozen=True)
class Membrane:
    """Edges between neighbouring nodes of N grids of G x G.

    Attributes:
        across: (N, 1, G, G - 1) weights of the edges along the rows.
        down: (N, 1, G - 1, G) weights of the edges along the columns.
    """

    across: Tensor
    down: Tensor

    @classmethod
    def over(cls, features: Tensor, mask: Tensor) -> Membrane:
        """Tie neighbouring features (N, C, G, G) the more, the more alike they are, in (0, 1].

        Where they differ by much more than an image's neighbours usually do, as masks (N, 1, G, G) show them, one
        surface may end in front of another.
        """
        unit = normalize(features, dim=1)
        distances = [_distance(unit, axis) for axis in (3, 2)]
        inside = [_both(mask, axis) >= _SHOWN for axis in (3, 2)]
        usual = _median([each.masked_fill(~where, torch.nan) for each, where in zip(distances, inside, strict=True)])
        across, down = (1 / (1 + (each / (_EDGE * usual)).square()) for each in distances)
        return cls(across, down)

    def within(self, mask: Tensor) -> Membrane:
        """The same between the nodes of masks (N, 1, K, K), in full where they show the object.

        Outside nodes are tied a little, so that fields go on there without drawing on those inside.
        """
        size = mask.shape[-1]
        across = interpolate(self.across, (size, size - 1), mode="bilinear")
        down = interpolate(self.down, (size - 1, size), mode="bilinear")
        return Membrane((across * _both(mask, 3)).clamp_min(_LOOSE), (down * _both(mask, 2)).clamp_min(_LOOSE))

    def times(self, stiffness: float) -> Membrane:
        """The same with all weights multiplied."""
        return Membrane(stiffness * self.across, stiffness * self.down)

    @property
    def degree(self) -> Tensor:
        """Summed weights of each node's edges, (N, 1, G, G)."""
        return (pad(self.across, (0, 1)) + pad(self.across, (1, 0)) + pad(self.down, (0, 0, 0, 1))) + pad(
            self.down, (0, 0, 1, 0)
        )

    def pull(self, fields: Tensor) -> Tensor:
        """Half the gradient of `energy`: at each node the weighted differences to its neighbours, (N, 2, G, G)."""
        across, down = self._stretched(fields)
        return pad(across, (1, 0)) - pad(across, (0, 1)) + pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1))

    def energy(self, fields: Tensor) -> Tensor:
        """Weighted sum (N,) of the squared differences of fields (N, 2, G, G) along all edges."""
        return (fields * self.pull(fields)).sum(dim=(1, 2, 3))

    def _stretched(self, fields: Tensor) -> tuple[Tensor, Tensor]:
        across = self.across * (fields[..., 1:] - fields[..., :-1])
        return across, self.down * (fields[..., 1:, :] - fields[..., :-1, :])


def solve(springs: Tensor, membrane: Membrane, forces: Tensor, *, steps: int) -> Tensor:
    """Solve (springs + membrane) field = forces by conjugate gradients, preconditioned node by node.

    Args:
        springs: (N, 3, G, G), the entries xx, xy, yy of a positive semidefinite 2 x 2 matrix at each node.
        membrane: between the nodes.
        forces: (N, 2, G, G).
        steps: of conjugate gradients, for all images.

    Returns:
        (N, 2, G, G).
    """
    degree = membrane.degree
    own = torch.cat([springs[:, :1] + degree, springs[:, 1:2], springs[:, 2:] + degree], dim=1)
    square = own[:, :1] * own[:, 2:]
    determinant = torch.maximum(square - own[:, 1:2] ** 2, _LEAST_DETERMINANT * square)
    inverse = torch.cat([own[:, 2:], -own[:, 1:2], own[:, :1]], dim=1) / determinant
    field, residual = torch.zeros_like(forces), forces
    better = _times(inverse, residual)
    direction, slope = better, _dot(residual, better)
    for _ in range(steps):
        image = _times(springs, direction) + membrane.pull(direction)
        length = slope / _dot(direction, image).clamp_min(_TINY)
        field = field + length * direction
        residual = residual - length * image
        better = _times(inverse, residual)
        previous, slope = slope, _dot(residual, better)
        direction = better + slope / previous.clamp_min(_TINY) * direction
    return field


def _both(maps: Tensor, axis: int) -> Tensor:
    """Products of neighbours along an axis."""
    last = maps.shape[axis] - 1
    return maps.narrow(axis, 1, last) * maps.narrow(axis, 0, last)


def _distance(unit: Tensor, axis: int) -> Tensor:
    return 1 - _both(unit, axis).sum(dim=1, keepdim=True)


def _median(parts: list[Tensor]) -> Tensor:
    """Median over all known values of each image, (N, 1, 1, 1); 1 if none is known."""
    values = torch.cat([part.flatten(1) for part in parts], dim=1)
    return values.nanmedian(dim=1).values.nan_to_num(1.0).clamp_min(_LEAST_DISTANCE)[:, None, None, None]


def _times(matrices: Tensor, fields: Tensor) -> Tensor:
    x, y = fields[:, :1], fields[:, 1:]
    xx, xy, yy = matrices[:, :1], matrices[:, 1:2], matrices[:, 2:]
    return torch.cat([xx * x + xy * y, xy * x + yy * y], dim=1)


def _dot(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(dim=(1, 2, 3), keepdim=True)
