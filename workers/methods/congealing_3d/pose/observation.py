"""What poses are sought from: what images show, and what the canonical surface looks like."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Observations:
    """What is known of N images.

    Attributes:
        windows: (N, 3), the square crop around the object: centre x, y and half its side in picture coordinates
            (halves of the picture's height, 0 in its middle).
        features: (N, C, g, g) unit features of the crop's cells; 0 where the object is not seen.
        masks: (N, 1, m, m) in [0, 1], the object on a finer grid of the crop; None where nobody knows it.
        aspect: (N,), width by height of the whole pictures.
        is_tight: (N,) bool, whether the crop is known to end where the object does; else it is the whole picture.
    """

    windows: Tensor
    features: Tensor
    masks: Tensor | None
    aspect: Tensor
    is_tight: Tensor

    def __len__(self) -> int:
        """Count the images."""
        return len(self.windows)

    def __getitem__(self, rows: slice | list[int] | Tensor) -> Observations:
        """Some of the images."""
        masks = None if self.masks is None else self.masks[rows]
        return Observations(self.windows[rows], self.features[rows], masks, self.aspect[rows], self.is_tight[rows])

    def to(self, device: torch.device | str) -> Observations:
        """The same on a device."""
        masks = None if self.masks is None else self.masks.to(device)
        return Observations(
            self.windows.to(device), self.features.to(device), masks, self.aspect.to(device), self.is_tight.to(device)
        )


@dataclass(frozen=True)
class SurfaceSamples:
    """P points spread evenly over the canonical surface.

    Attributes:
        points: (P, 3) in the canonical frame.
        normals: (P, 3), unit, outward.
        features: (P, C) unit features of the places; 0 where none are known.
    """

    points: Tensor
    normals: Tensor
    features: Tensor

    def __len__(self) -> int:
        """Count the points."""
        return len(self.points)

    def to(self, device: torch.device | str) -> SurfaceSamples:
        """The same on a device."""
        return SurfaceSamples(self.points.to(device), self.normals.to(device), self.features.to(device))
