"""Carry the keypoints of annotated images to the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor

from workers.matching.soft_argmax import Softness
from workers.methods.base import Annotation, InputImage
from workers.methods.features import Heartbeat
from workers.methods.geo_aware.choices import Pair, PairChoice
from workers.methods.geo_aware.inputs import Looks
from workers.methods.geo_aware.keypoint_mode import Transferred, merged, query
from workers.methods.geo_aware.scoring import Points

COLUMNS = ("keypoint", "x", "y", "confidence", "peak", "margin", "cycle_cells", "from_mirrored")


@dataclass(frozen=True)
class CarriedKeypoints:
    """The keypoints that a source shows, in a target.

    Attributes:
        indices: (P,) which of the schema's.
        native: (P, 2) pixels of the target, as the unmirrored picture says.
        points: (P, 2) pixels, for those that have a partner from the mirrored picture, where that was chosen.
        mirrored: (P,) which these are.
        evidence: (P, 4) confidence, peak, margin, cycle in cells, of what `points` says.
    """

    indices: npt.NDArray[np.intp]
    native: Points
    points: Points
    mirrored: npt.NDArray[np.bool_]
    evidence: Points

    def all_points(self, count: int, *, native: bool = False) -> Points:
        """Predictions (count, 2) of all keypoints; NaN of those the source does not show."""
        whole = np.full((count, 2), np.nan)
        whole[self.indices] = self.native if native else self.points
        return whole

    def rows(self) -> list[JsonValue]:
        """One row of `COLUMNS` a keypoint."""
        return [
            [int(index), *(round(float(value), 3) for value in (*point, *evidence)), bool(mirrored)]
            for index, point, evidence, mirrored in zip(
                self.indices, self.points, self.evidence, self.mirrored, strict=True
            )
        ]


def carry_keypoints(
    looks: Looks,
    images: Sequence[InputImage],
    picked: Mapping[Pair, PairChoice],
    softness: Softness,
    *,
    subcell: bool,
    pulse: Heartbeat,
) -> dict[Pair, CarriedKeypoints]:
    """Carry the keypoints of every annotated source of a pair to its target, unless that has no cell of the object."""
    carried = {}
    for pair, choice in picked.items():
        annotation = images[pair[0]].annotation
        if annotation is not None and annotation.keypoints[:, 2].any() and _has_cells(looks, pair[1]):
            carried[pair] = _carry(looks, annotation, pair, choice, softness, subcell=subcell)
            pulse.beat()
    return carried


def _carry(
    looks: Looks, annotation: Annotation, pair: Pair, choice: PairChoice, softness: Softness, *, subcell: bool
) -> CarriedKeypoints:
    becomes = annotation.schema.permutation if annotation.schema else None
    seen = torch.from_numpy(annotation.keypoints[:, 2] > 0)
    cells = _cells(looks, pair[0], annotation.keypoints[:, :2])
    native = _query(looks, pair, choice.native, cells, softness, subcell=subcell)
    used, places, evidence = torch.zeros_like(seen), native.cells, _evidence(native)
    if choice.is_mirrored and becomes is not None:
        partner = torch.tensor(becomes)
        flipped = _query(looks, pair, choice.best, cells[partner], softness, subcell=subcell)
        places, used = merged(native.cells, flipped.cells, seen, None, partner)
        evidence = _evidence(flipped).where(used.unsqueeze(1), evidence)
    return CarriedKeypoints(
        indices=seen.nonzero()[:, 0].numpy(),
        native=_pixels(looks, pair[1], native.cells[seen]),
        points=_pixels(looks, pair[1], places[seen]),
        mirrored=used[seen].numpy(),
        evidence=evidence[seen].double().numpy(),
    )


def _query(looks: Looks, pair: Pair, variant: int, cells: Tensor, softness: Softness, *, subcell: bool) -> Transferred:
    source, target = looks.inner(variant, pair[0]), looks.inner(0, pair[1])
    found = query(source, target, cells.to(source), softness, subcell=subcell, target_mask=looks.inner_mask(0, pair[1]))
    return Transferred(**{name: value.cpu() for name, value in vars(found).items()})


def _evidence(found: Transferred) -> Tensor:
    return torch.stack([found.confidence, found.peak, found.margin, found.cycle], dim=1)


def _has_cells(looks: Looks, image: int) -> bool:
    inside = looks.inner_mask(0, image)
    return inside is None or bool(inside.any())


def _cells(looks: Looks, image: int, points: Points) -> Tensor:
    """Pixels (K, 2) of an upload as positions (column, row) on the picture's own cells, whole at cell centres."""
    rows, columns = looks.inner(0, image).shape[1:]
    box = looks.frames.boxes[image]
    return torch.from_numpy(points * [columns / box.width, rows / box.height] - 0.5).float()


def _pixels(looks: Looks, image: int, cells: Tensor) -> Points:
    rows, columns = looks.inner(0, image).shape[1:]
    box = looks.frames.boxes[image]
    pixels: Points = (cells.double().numpy() + 0.5) * [box.width / columns, box.height / rows]
    return pixels
