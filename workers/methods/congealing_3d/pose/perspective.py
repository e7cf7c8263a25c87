"""Cameras from places in a picture and on the surface, where some of the pairs are wrong (perspective n points).

A camera found so is one more guess to refine: with noisy features it may be far off.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.pose.correspondences import Correspondences

_LEAST_INLIERS = 6
_UNIT_PX = 1000.0
"""OpenCV sees pictures as if half their height were so many pixels."""


@dataclass(frozen=True)
class PerspectiveOptions:
    """How cameras are fitted.

    Attributes:
        threshold: farthest that an inlier is seen from its place, in halves of the crop.
        samples: tries at most.
        confidence: of having drawn one sample without outliers, in (0, 1).
    """

    threshold: float = 0.1
    samples: int = 500
    confidence: float = 0.999


@dataclass(frozen=True)
class PerspectiveFit:
    """A camera and what supports it.

    Attributes:
        camera: a batch of one.
        inliers: number of pairs it explains.
    """

    camera: Cameras
    inliers: int


def fit_cameras(
    correspondences: Correspondences,
    half_sides: Tensor,
    focal: Tensor,
    *,
    seed: int = 0,
    options: PerspectiveOptions | None = None,
) -> list[PerspectiveFit | None]:
    """Fit V cameras, each by RANSAC, SQPnP (Terzakis and Lourakis 2020), and Levenberg-Marquardt on the inliers.

    Args:
        correspondences: of V pairs of an image and a render.
        half_sides: (V,) of the images' crops, in picture coordinates.
        focal: (V,) focal lengths, which stay as they are.
        seed: of what RANSAC draws.
        options: settings.

    Returns:
        One for each; None where fewer than 6 pairs agree on a camera that has them all before it.
    """
    options = options or PerspectiveOptions()
    return [
        _fitted(
            correspondences.places[row],
            correspondences.points[row],
            correspondences.weights[row],
            threshold=options.threshold * float(half_sides[row]),
            focal=float(focal[row]),
            seed=seed,
            options=options,
        )
        for row in range(len(correspondences))
    ]


def _fitted(
    places: Tensor,
    points: Tensor,
    weights: Tensor,
    *,
    threshold: float,
    focal: float,
    seed: int,
    options: PerspectiveOptions,
) -> PerspectiveFit | None:
    matched = weights > 0
    if int(matched.sum()) < _LEAST_INLIERS:
        return None
    pixels = (places[matched] * _UNIT_PX).double().cpu().numpy()
    solid = points[matched].double().cpu().numpy()
    calibration = np.diag([focal * _UNIT_PX, focal * _UNIT_PX, 1.0])
    cv2.setRNGSeed(seed)
    try:
        found, axis, shift, inliers = cv2.solvePnPRansac(
            solid,
            pixels,
            calibration,
            None,
            iterationsCount=options.samples,
            reprojectionError=threshold * _UNIT_PX,
            confidence=options.confidence,
            flags=cv2.SOLVEPNP_SQPNP,
        )
        if not found or inliers is None or len(inliers) < _LEAST_INLIERS:
            return None
        rows = inliers.ravel()
        axis, shift = cv2.solvePnPRefineLM(solid[rows], pixels[rows], calibration, None, axis, shift)
    except cv2.error:
        return None  # OpenCV gives up so on pairs that all lie in one place or on one line.
    rotation = cv2.Rodrigues(axis)[0]
    depth = solid[rows] @ rotation[2] + shift[2]
    if not (np.isfinite(rotation).all() and np.isfinite(shift).all() and (depth > 0).all()):
        return None
    camera = Cameras(
        torch.from_numpy(rotation).to(places)[None],
        torch.from_numpy(shift.ravel()).to(places)[None],
        torch.full((1,), focal).to(places),
    )
    return PerspectiveFit(camera, len(rows))
