"""From matched pairs to a result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from torch import Tensor

from alignment.keypoint_report import keypoint_report
from alignment.pairwise import PairwiseMaps
from workers.methods.base import InputImage
from workers.methods.geo_aware.choices import Pair, PairChoice
from workers.methods.geo_aware.keypoints import COLUMNS, CarriedKeypoints
from workers.methods.geo_aware.pairs import MatchedPairs
from workers.methods.geo_aware.pose import predict
from workers.methods.geo_aware.scoring import ALPHAS, Points, scored_pairs
from workers.methods.geo_aware.variants import Variant, laterality

_MAP, _CONFIDENCE = slice(0, 2), 2

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Outcome:
    """Everything that a run has found out.

    Attributes:
        images: annotated or not.
        variants: in which sources were looked at.
        picked: per pair.
        distances: (N, N, V); None where there was nothing to choose.
        pairs: the maps.
        carried: keypoints, by pair.
    """

    images: Sequence[InputImage]
    variants: tuple[Variant, ...]
    picked: Mapping[Pair, PairChoice]
    distances: Tensor | None
    pairs: MatchedPairs
    carried: Mapping[Pair, CarriedKeypoints]

    def form(self) -> PairwiseMaps:
        """The maps in which left is left."""
        packed = {pair: maps.numpy() for pair, maps in self.pairs.native.items()}
        return PairwiseMaps(
            images=self.pairs.sizes,
            maps={pair: maps[..., _MAP] for pair, maps in packed.items()},
            confidence={pair: maps[..., _CONFIDENCE] for pair, maps in packed.items()},
        )

    def evidence(self) -> list[Float32]:
        """Of each image as source (N, h, w, 4); NaN where there is no match."""
        return [self._by_target(source, self.pairs.native, slice(3, 7)) for source in range(len(self.images))]

    def mirrored_maps(self) -> list[Float32]:
        """Of each image as source (N, h, w, 3): pixels and confidence; NaN where it was not mirrored."""
        return [self._by_target(source, self.pairs.mirrored, slice(0, 3)) for source in range(len(self.images))]

    def documents(self) -> dict[str, JsonValue]:
        """The pairs, and what else there is to tell."""
        found: dict[str, JsonValue] = {"pairs": {"variants": self._names(), "pairs": self._pairs()}}
        if self.carried:
            found["keypoint_transfer"] = self._keypoints()
        if report := self._report():
            found["pck_report"] = report
        if poses := self._poses():
            found["pose_prediction"] = poses
        return found

    def scores(self) -> list[dict[str, JsonValue]]:
        """Of every image: mean confidence of its maps, and in how many of them it is mirrored or turned."""
        rows: list[dict[str, JsonValue]] = []
        for image in range(len(self.images)):
            means = [float(maps[..., _CONFIDENCE].mean()) for pair, maps in self.pairs.native.items() if image in pair]
            moved = [choice.best != 0 for pair, choice in self.picked.items() if pair[0] == image]
            rows.append({"mean_confidence": float(np.mean(means)) if means else 0.0, "moved_for": sum(moved)})
        return rows

    def _by_target(self, source: int, kept: Mapping[Pair, Tensor], part: slice) -> Float32:
        shape = next((maps.shape[:2] for pair, maps in self.pairs.native.items() if pair[0] == source), (1, 1))
        whole = np.full((len(self.images), *shape, part.stop - part.start), np.nan, dtype=np.float32)
        for (start, target), maps in kept.items():
            if start == source:
                whole[target] = maps[..., part].numpy()
        return whole

    def _names(self) -> list[JsonValue]:
        return [variant.name for variant in self.variants]

    def _pairs(self) -> list[JsonValue]:
        return [self._pair(pair, choice) for pair, choice in self.picked.items()]

    def _pair(self, pair: Pair, choice: PairChoice) -> dict[str, JsonValue]:
        row: dict[str, JsonValue] = {
            "source": pair[0],
            "target": pair[1],
            "variant": self.variants[choice.best].name,
            "laterality": laterality(self.variants[choice.best]),
            "map_variant": self.variants[choice.native].name,
            "mean_confidence": _rounded(float(self.pairs.native[pair][..., _CONFIDENCE].mean())),
        }
        if self.distances is not None:
            row["imd"] = [_rounded(value) for value in self.distances[pair].tolist()]
            row["imd_margin"] = _rounded(choice.margin)
        return row

    def _keypoints(self) -> dict[str, JsonValue]:
        pairs: list[JsonValue] = [
            {
                "source": pair[0],
                "target": pair[1],
                "category": annotation.category,
                "points": found.rows(),
            }
            for pair, found in self.carried.items()
            if (annotation := self.images[pair[0]].annotation)
        ]
        names: dict[str, JsonValue] = {
            image.annotation.category: list(image.annotation.schema.names)
            for image in self.images
            if image.annotation and image.annotation.schema
        }
        return {"columns": list(COLUMNS), "names": names, "pairs": pairs}

    def _report(self) -> dict[str, JsonValue]:
        """PCK of the carried keypoints, and of those that the unmirrored pictures alone say; nothing without truth."""

        def predicted(*, native: bool) -> dict[str, JsonValue]:
            def at(source: int, target: int) -> Points:
                annotation, found = self.images[source].annotation, self.carried.get((source, target))
                count = len(annotation.keypoints) if annotation else 0
                return found.all_points(count, native=native) if found else np.full((count, 2), np.nan)

            known = scored_pairs(self.images, self.picked, at)
            return keypoint_report(known, ALPHAS).as_json() if known else {}

        aligned = predicted(native=False)
        return {"keypoints": aligned, "without_mirroring": predicted(native=True)} if aligned else {}

    def _poses(self) -> list[JsonValue]:
        """Pose of every image without label whose distance to a template is known.

        Templates stand in the order of the set, by label.
        """
        labels: dict[str, list[int]] = {}
        for index, image in enumerate(self.images):
            if image.annotation and image.annotation.pose:
                labels.setdefault(image.annotation.pose, []).append(index)
        if len(labels) < 2 or self.distances is None:
            return []
        as_it_is = self.distances[..., 0]
        rows: list[JsonValue] = []
        for index, image in enumerate(self.images):
            distances = {label: as_it_is[index, there].tolist() for label, there in labels.items()}
            is_known = not all(math.isnan(value) for values in distances.values() for value in values)
            if is_known and (image.annotation is None or image.annotation.pose is None):
                found = predict(distances)
                votes: dict[str, JsonValue] = {**found.votes}
                rows.append({"image": index, "pose": found.label, "votes": votes, "margin": _rounded(found.margin)})
        return rows


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
