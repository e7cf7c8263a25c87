"""Predicted keypoints against known ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from alignment.azimuth import azimuth_gap
from alignment.geometry_aware import geometry_aware
from alignment.keypoint_report import ScoredPair
from workers.methods.base import Annotation, InputImage

ALPHAS = (0.1, 0.05, 0.01)

Points = npt.NDArray[np.float64]


def scored_pair(
    source: InputImage, target: InputImage, predicted: Points, *, only: npt.NDArray[np.bool_] | None = None
) -> ScoredPair | None:
    """Score the keypoints of a pair.

    Args:
        source: annotated.
        target: annotated.
        predicted: (K, 2) pixels of the target; NaN where nothing is predicted, which counts as wrong.
        only: (K,) the keypoints that count; all if None.

    Returns:
        Errors as shares of the longer side of the target's box, else of its picture. None where the two are of unlike
        kinds, or show no keypoint in common.
    """
    here, there = source.annotation, target.annotation
    if here is None or there is None or here.schema is None or here.category != there.category:
        return None
    seen = here.keypoints[:, 2] > 0, there.keypoints[:, 2] > 0
    both = seen[0] & seen[1] if only is None else seen[0] & seen[1] & only
    if not both.any():
        return None
    distances = np.linalg.norm(predicted[both] - there.keypoints[both, :2], axis=1) / box_side(target)
    return ScoredPair(
        errors=np.nan_to_num(distances, nan=np.inf, posinf=np.inf),
        geometry_aware=geometry_aware(*seen, here.schema.groups or [])[both],
        category=here.category,
        azimuth_gap=_gap(here, there),
    )


def scored_pairs(
    images: Sequence[InputImage],
    pairs: Iterable[tuple[int, int]],
    predict: Callable[[int, int], Points],
    *,
    only: Callable[[Annotation], npt.NDArray[np.bool_]] | None = None,
) -> list[ScoredPair]:
    """Score pairs of images by what `predict` says of the keypoints (K, 2) of a source in a target."""
    found = []
    for i, j in pairs:
        annotation = images[i].annotation
        if annotation is not None and images[j].annotation is not None:
            chosen = only(annotation) if only else None
            pair = scored_pair(images[i], images[j], predict(i, j), only=chosen)
            found += [pair] if pair else []
    return found


def box_side(image: InputImage) -> float:
    """Longer side in pixels of the object's box; without one, of the picture."""
    box = image.annotation.box if image.annotation else None
    return float(max(image.width, image.height)) if box is None else max(box[2] - box[0], box[3] - box[1])


def _gap(here: Annotation, there: Annotation) -> int | None:
    if here.azimuth is None or there.azimuth is None:
        return None
    return azimuth_gap(here.azimuth, there.azimuth)
