"""Scores that the parts of the benchmark share, and maps that only copy places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.atlas import Atlas
from alignment.cycles import cycle_pck
from alignment.forms import Form
from alignment.sampling import ImageSize, cell_centres
from alignment.scores import AnnotatedImage, pck

ALPHA = 0.1
LENGTHS = (2, 3, 4)
PERCENT = 100
_CELLS = 8
_BOX_SHARE = 0.2


@dataclass(frozen=True)
class Consistency:
    """PCK@0.1 in percent: over pairs, and over k-cycles by k, at the return and of all stops."""

    pairs: float
    returned: dict[int, float]
    pooled: dict[int, float]


def consistency(form: Form, annotated: Mapping[int, AnnotatedImage], lengths: Sequence[int] = LENGTHS) -> Consistency:
    """Score a result by pairs and by cycles."""
    cycles = {length: cycle_pck(form, annotated, [ALPHA], length).scores[0] for length in lengths}
    return Consistency(
        pairs=percent(pck(form, annotated, [ALPHA]).scores[0].per_point),
        returned={length: percent(score.returned) for length, score in cycles.items()},
        pooled={length: percent(score.pooled) for length, score in cycles.items()},
    )


def percent(share: float) -> float:
    """A share in [0, 1], in percent to a tenth."""
    return round(PERCENT * share, 1)


def copied_boxes(images: Sequence[ImageSize], boxes: Sequence[npt.NDArray[np.float64]]) -> Atlas:
    """Maps that copy every point to the same place of the target's box, (x0, y0, x1, y1) in pixels.

    Each box is the middle fifth of the atlas, so that points well outside it find their place too.
    """
    middle = (1 - _BOX_SHARE) / 2
    forward, backward = [], []
    for image, box in zip(images, boxes, strict=True):
        start, side = box[:2], box[2:] - box[:2]
        places = (cell_centres(_CELLS, _CELLS, image.extent) - start) / side
        forward.append((middle + _BOX_SHARE * places).astype(np.float32))
        atlas = (cell_centres(_CELLS, _CELLS, np.ones(2)) - middle) / _BOX_SHARE
        backward.append((start + atlas * side).astype(np.float32))
    certain = np.ones((_CELLS, _CELLS), dtype=np.float32)
    return Atlas(tuple(images), tuple(forward), tuple(backward), (certain,) * len(images))


def copied_places(images: Sequence[ImageSize]) -> Atlas:
    """Maps that copy every point to the same relative place of the target."""
    return copied_boxes(images, [np.array([0.0, 0.0, image.width, image.height]) for image in images])
