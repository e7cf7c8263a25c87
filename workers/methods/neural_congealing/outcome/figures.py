"""Figures of each image and of the set, as users read them."""

from __future__ import annotations

import torch
from pydantic import JsonValue
from torch import Tensor

from workers.geometry.letterbox import Letterbox
from workers.geometry.similarity import transform
from workers.imaging.frames import WorkingFrames, frame_to_upload
from workers.methods.neural_congealing.result import CongealingResult


def image_scores(result: CongealingResult, frames: WorkingFrames) -> list[dict[str, JsonValue]]:
    """Per image its similarity in uploaded pixels and how well it fits.

    `x_px`, `y_px`: where the atlas' centre lies; `side_px`: length of the atlas' side; `rotation_rad`: direction of
    the atlas' x axis in the image (of the mirrored image where `mirrored`), clockwise as y points down.
    `matrix`: the similarity (2 x 3) from the atlas in [-1, 1] to the square working frame in [-1, 1], of the mirrored
    image where `mirrored`. `matrix_px`: the same from the atlas in [0, 1] to pixels of the image as uploaded, its
    mirroring included.
    """
    scores: list[dict[str, JsonValue]] = []
    for index, box in enumerate(frames.boxes):
        to_pixels = pixel_matrix(result.matrices[index], box, mirrored=bool(result.mirrored[index]))
        centre = to_pixels @ to_pixels.new_tensor([0.5, 0.5, 1.0])
        scores.append(
            {
                "mirrored": bool(result.mirrored[index]),
                "rotation_rad": float(result.theta[index]),
                "x_px": float(centre[0]),
                "y_px": float(centre[1]),
                "side_px": float(result.scale[index]) * box.size / box.scale,
                "matrix": result.matrices[index].tolist(),
                "matrix_px": to_pixels.tolist(),
                "agreement": float(result.scores[index]),
                "outlier": bool(result.outlier[index]),
                "fold_over": float(result.fold[index]),
            }
        )
    return scores


def pixel_matrix(matrix: Tensor, box: Letterbox, *, mirrored: bool) -> Tensor:
    """The map (2, 3) from atlas points in [0, 1] to uploaded pixels, from the similarity (2, 3) in [-1, 1] units."""
    corners = matrix.new_tensor([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]])
    seen = transform(matrix.double().unsqueeze(0), corners.double().unsqueeze(0))[0]
    seen[:, 0] *= -1.0 if mirrored else 1.0
    origin, right, down = frame_to_upload(seen, box)
    return torch.stack([right - origin, down - origin, origin], dim=1)


def set_scores(result: CongealingResult, alignment: Tensor) -> dict[str, float]:
    """The set as a whole: how many images, how many of them outliers, and the mean alignment score (N,).

    `retained_energy` is the share of the features' variance that their compression kept; below 0.9 ask for a larger
    `feature_dim`.
    """
    return {
        "images": len(alignment),
        "outliers": int(result.outlier.sum()),
        "alignment_score": float(alignment.mean()),
        "retained_energy": result.retained,
    }
