"""Which way an image's object faces, by its distances to template images (Telling Left from Right, 2311.17034)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from statistics import fmean


@dataclass(frozen=True)
class PosePrediction:
    """A predicted pose.

    Attributes:
        label: of the pose.
        votes: by label, how many series of templates are nearest in that pose; all 0 where no vote was taken.
        margin: the least mean distance of another label less that of this one; below 0 where votes and means
            disagree, NaN where there is no other.
    """

    label: str
    votes: dict[str, int]
    margin: float


def predict(distances: Mapping[str, Sequence[float]]) -> PosePrediction:
    """Predict the label of an image.

    The first templates of all labels form a series, so do the second and so on: in the paper each is a cat of one
    coat, seen from all sides. Each series votes for its nearest template, and the majority wins. With two labels this
    is the sign of their difference, series by series. Ties go to the label that comes first. If labels have different
    numbers of templates there are no series, and the least mean distance wins.

    Args:
        distances: by label, those of the image to the label's templates, as `workers.methods.geo_aware.imd.imd`
            gives them; NaN where unknown, which does not count.

    Raises:
        ValueError: no distance is known.
    """
    known = {label: [value for value in values if not isnan(value)] for label, values in distances.items()}
    means = {label: fmean(values) for label, values in known.items() if values}
    if not means:
        raise ValueError("no distance to a template is known; give templates, and masks that are not empty")
    votes = dict.fromkeys(distances, 0) | _votes(distances)
    label = max(votes, key=votes.__getitem__) if any(votes.values()) else min(means, key=means.__getitem__)
    others = [mean for other, mean in means.items() if other != label]
    return PosePrediction(label, votes, min(others) - means[label] if others else nan)


def _votes(distances: Mapping[str, Sequence[float]]) -> Counter[str]:
    if len({len(values) for values in distances.values()}) > 1:
        return Counter()
    winners: Counter[str] = Counter()
    for series in zip(*distances.values(), strict=True):
        known = [(value, number) for number, value in enumerate(series) if not isnan(value)]
        if known:
            winners[list(distances)[min(known)[1]]] += 1
    return winners
