"""The alignment of a set to an atlas, in the working frame, whichever mode found it.

Everything is in normalised [-1, 1] units of the square working frame, `align_corners=False`, (x, y).
`CongealingResult.grids` is atlas -> picture as uploaded (mirroring undone); `matrices`, `theta` and so on speak of the
mirrored picture where `mirrored` is set. Dense maps picture -> atlas: `picture_to_atlas`.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from workers.geometry.inversion import InverseMap, invert_grid


@dataclass(frozen=True)
class CongealingResult:
    """The alignment of N images to an atlas of A x A cells.

    Attributes:
        mirrored: (N,) bool, pictures that are mirrored left to right.
        theta, scale, tx, ty: (N,) similarity atlas -> (mirrored) picture; rad, ratio, normalised units.
        matrices: (N, 2, 3) the same similarity.
        flows: (N, A, A, 2) displacement in the atlas, applied before the similarity.
        grids: (N, A, A, 2) atlas -> picture as uploaded, mirroring undone.
        atlas_features: (D, A, A) unit vectors in the compressed feature space.
        atlas_saliency: (A, A) in [0, 1].
        scores: (N,) mean cosine of each image with the mean of the others on the salient cells, in [-1, 1].
        outlier: (N,) bool, images that agree far less than the others.
        fold: (N,) share of the salient atlas area where the map folds.
        curve: (K, 3) stage index, step, mean loss.
        retained: share of the features' variance kept by the compression.
    """

    mirrored: Tensor
    theta: Tensor
    scale: Tensor
    tx: Tensor
    ty: Tensor
    matrices: Tensor
    flows: Tensor
    grids: Tensor
    atlas_features: Tensor
    atlas_saliency: Tensor
    scores: Tensor
    outlier: Tensor
    fold: Tensor
    curve: Tensor
    retained: float


def picture_to_atlas(result: CongealingResult, index: int, height: int, width: int) -> InverseMap:
    """The dense map of picture `index` as uploaded: the atlas point of each of height x width cells of the frame."""
    grid = result.grids[index]
    if not bool(result.mirrored[index]):
        return invert_grid(grid, height, width)
    inverse = invert_grid(grid * grid.new_tensor([-1.0, 1.0]), height, width)
    return InverseMap(inverse.points.flip(1), inverse.valid.flip(1))
