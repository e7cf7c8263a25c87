"""Maps between the frames of images and the canonical plane, whichever preset found them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.backbones.base import Tick
from workers.geometry.coordinates import identity_grid, resize_grid, sample
from workers.geometry.flows import dense_flow
from workers.geometry.inversion import invert_at, jacobian_determinant

INVERSION_CELLS = 128
NOWHERE = 4.0


@dataclass(frozen=True)
class CanonicalMaps:
    """Of N images, in normalised [-1, 1] units of the frames and of the canonical square, `align_corners=False`.

    Attributes:
        places: (N, S, S, 2), where each cell of the frame, as uploaded, lies in the canonical plane; may lie outside
            the square.
        grids: (N, A, A, 2), where each cell of the canonical square lies in the frame as uploaded; far outside it
            where nothing of the frame lies there, or the map folds.
        mirrored: (N,) bool, images whose mirror image lies in the plane.
    """

    places: Tensor
    grids: Tensor
    mirrored: Tensor

    @property
    def known(self) -> Tensor:
        """(N, A, A) bool, cells of the square at which something of the frame lies."""
        return (self.grids.abs() < NOWHERE).all(dim=-1)

    @property
    def upright(self) -> Tensor:
        """(N, S, S) in [0, 1]: 1 where the map keeps the object's orientation, 0 where it folds."""
        seen = torch.where(self.mirrored.view(-1, 1, 1, 1), self.places.flip(2), self.places)
        kept = (jacobian_determinant(seen) > 0).to(seen)
        padded = torch.nn.functional.pad(kept.unsqueeze(1), (0, 1, 0, 1), mode="replicate").squeeze(1)
        return torch.where(self.mirrored.view(-1, 1, 1), padded.flip(2), padded)


def spline_places(controls: Tensor, size: int) -> Tensor:
    """Places (N, size, size, 2) of the cells of frames that splines (N, 2, n, n) map to the plane."""
    return dense_flow(controls, size).float()


def canonical_maps(places: Tensor, mirrored: Tensor, *, size: int, atlas_size: int, tick: Tick) -> CanonicalMaps:
    """Maps both ways.

    Args:
        places: (N, h, h, 2) of the cells of the frames, mirrored where flagged.
        mirrored: (N,) bool.
        size: cells a side of `CanonicalMaps.places`.
        atlas_size: cells a side of the canonical square.
        tick: called for every image.
    """
    coarse = resize_grid(places, INVERSION_CELLS)
    targets = identity_grid(atlas_size, atlas_size, device=places.device).flatten(0, 1)
    side = torch.where(mirrored, -1.0, 1.0).to(places)
    grids = []
    for grid, sign in zip(coarse, side, strict=True):
        inverse = invert_at(grid, targets)
        points = inverse.points * torch.stack([sign, torch.ones_like(sign)])
        # Outwards, so that what lies between a seen cell and this one does not cross the frame.
        beyond = 2 * NOWHERE * torch.where(points < 0, -1.0, 1.0)
        filled = torch.where(inverse.valid.unsqueeze(1), points, beyond)
        grids.append(filled.view(atlas_size, atlas_size, 2))
        tick()
    fine = places if places.shape[1] == size else resize_grid(places, size)
    as_uploaded = torch.where(mirrored.view(-1, 1, 1, 1), fine.flip(2), fine)
    return CanonicalMaps(as_uploaded, torch.stack(grids), mirrored)


def seen_through(maps: Tensor, grids: Tensor) -> Tensor:
    """Maps (N, C, h, w) of the frames seen in the canonical square: (N, C, A, A), 0 where nothing is seen."""
    return sample(maps, grids, padding="zeros")
