"""Pictures at half resolution, described through similarities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.geometry.coordinates import identity_grid, sample
from workers.geometry.similarity import identity_matrix, transform
from workers.matching.projection import Projection, fit_projection
from workers.methods.neural_congealing.initialisation import Initialisation
from workers.methods.neural_congealing.views import ImageViews
from workers.saliency.consensus import interior

_DIM = 32
_MIN_CELLS = 16
_MARGIN_CELLS = 2
_WINDOW_SIGMA = 0.6


class CoarseViews:
    """Views at half resolution with fully whitened features and the area to trust in them."""

    def __init__(self, views: ImageViews) -> None:
        """Look at `views`.

        Raises:
            ValueError: they have no describer.
        """
        if views.describe is None:
            raise ValueError("the search needs a describer; pass `describe` to `align`")
        self.count, self.describe = views.count, views.describe
        self.cells = max(views.size[0] // 2, _MIN_CELLS)
        area = adaptive_avg_pool2d(views.valid * views.masks, self.cells)
        self.area = interior(area, _MARGIN_CELLS) * centre_window(self.cells)
        raw = self._describe(range(self.count), identity_matrix(self.count), mirrored=[False] * self.count)
        self.projection: Projection = fit_projection(raw, area, dim=_DIM, whitening=1.0)

    def look(self, image: int, matrices: Tensor, *, mirrored: bool) -> tuple[Tensor, Tensor]:
        """Unit features (K, D, c, c) and trusted area (K, 1, c, c) of views of one image."""
        count = len(matrices)
        raw = self._describe([image] * count, matrices, mirrored=[mirrored] * count)
        area = self.area[image : image + 1]
        area = area.flip(-1) if mirrored else area
        grids = transform(matrices, identity_grid(self.cells, self.cells).unsqueeze(0))
        return self.projection(raw), sample(area.expand(count, -1, -1, -1), grids, padding="zeros")

    def weighted(self, image: int, matrix: Tensor, *, mirrored: bool) -> Tensor:
        """See `workers.methods.neural_congealing.flips.Looks`."""
        features, area = self.look(image, matrix.unsqueeze(0), mirrored=mirrored)
        return (features * area).flatten()

    def congealed(self, start: Initialisation) -> tuple[Tensor, Tensor]:
        """Features (N, D, c, c) and area (N, 1, c, c) of all images seen in the atlas' frame."""
        looks = [self.look(i, start.matrices[i : i + 1], mirrored=bool(start.mirrored[i])) for i in range(self.count)]
        return torch.cat([features for features, _ in looks]), torch.cat([area for _, area in looks])

    def _describe(self, images: range | list[int], matrices: Tensor, *, mirrored: list[bool]) -> Tensor:
        return self.describe(images, matrices, mirrored, cells=self.cells)


def centre_window(cells: int) -> Tensor:
    """A mild preference (cells, cells) for what the photographer put in the middle: a wide Gaussian."""
    squared = identity_grid(cells, cells).square().sum(dim=-1)
    return torch.exp(-squared / (2 * _WINDOW_SIGMA**2))
