"""The set as the optimisation sees it: compressed feature maps, masks and the true image area, in any frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.geometry.coordinates import identity_grid, sample
from workers.geometry.similarity import identity_matrix, transform
from workers.matching.projection import fit_projection


class Describer(Protocol):
    """Describes pictures seen through similarities, for features that change when the picture is turned."""

    def __call__(self, images: Sequence[int], matrices: Tensor, mirrored: Sequence[bool], *, cells: int) -> Tensor:
        """Features (M, C, cells, cells) of M views.

        View m shows picture `images[m]`, mirrored left to right first if `mirrored[m]`, resampled so that the view's
        point p in [-1, 1]^2 shows the picture's point `matrices[m] @ [p, 1]`; outside the picture its edge continues.
        `cells` is that of the maps given to `align`, or half of it. Must give the same for the same views.
        """


@dataclass(frozen=True)
class Frame:
    """All images seen in one frame each.

    Attributes:
        features: (N, D, h, w) unit vectors.
        masks: (N, 1, h, w) in [0, 1].
        valid: (N, 1, h, w) in [0, 1], 0 outside the picture.
    """

    features: Tensor
    masks: Tensor
    valid: Tensor


class ImageViews:
    """Source of frames: from a describer where there is one, else the given maps."""

    def __init__(
        self,
        features: Tensor,
        mirrored_features: Tensor | None,
        masks: Tensor | None,
        valid: Tensor,
        *,
        describe: Describer | None,
        dim: int,
        whitening: float,
    ) -> None:
        self.count = len(features)
        self.size = (features.shape[2], features.shape[3])
        self.has_masks = masks is not None
        self.masks = torch.ones_like(valid) if masks is None else masks
        self.valid = valid
        self.describe = describe
        self.projection = fit_projection(features, self.masks * valid, dim=dim, whitening=whitening)
        self.features = self.projection(features)
        self.mirrored_features = None if mirrored_features is None else self.projection(mirrored_features)

    @property
    def can_mirror(self) -> bool:
        """Whether features of the mirrored pictures can be had."""
        return self.describe is not None or self.mirrored_features is not None

    def oriented(self, mirrored: Tensor) -> Frame:
        """The pictures as uploaded, those with mirrored (N,) turned left to right."""
        flip = mirrored.view(-1, 1, 1, 1)
        return Frame(
            torch.where(flip, self._mirrored(), self.features) if bool(mirrored.any()) else self.features,
            torch.where(flip, self.masks.flip(-1), self.masks),
            torch.where(flip, self.valid.flip(-1), self.valid),
        )

    def framed(self, matrices: Tensor, mirrored: Tensor) -> Frame:
        """The pictures seen through matrices (N, 2, 3). Described anew where possible, else warped."""
        upright = self.oriented(mirrored)
        grids = transform(matrices, identity_grid(*self.size, device=matrices.device).unsqueeze(0))
        masks, valid = sample(upright.masks, grids), sample(upright.valid, grids, padding="zeros")
        if self.describe is None:
            return Frame(normalize(sample(upright.features, grids), dim=1), masks, valid)
        return Frame(self.look(range(self.count), matrices, mirrored.tolist()), masks, valid)

    def look(self, images: Sequence[int], matrices: Tensor, mirrored: Sequence[bool]) -> Tensor:
        """Compressed features (M, D, h, w) of views, from the describer."""
        if self.describe is None:
            raise ValueError("views need a describer; pass `describe` to `align`")
        return self.projection(self.describe(images, matrices, mirrored, cells=self.size[0]))

    def _mirrored(self) -> Tensor:
        if self.mirrored_features is None:
            turned = [True] * self.count
            self.mirrored_features = self.look(range(self.count), identity_matrix(self.count), turned)
        return self.mirrored_features
