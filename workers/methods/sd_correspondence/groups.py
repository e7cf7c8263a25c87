"""Which points share an embedding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from workers.methods.sd_correspondence.squares import Points


def grouped(places: Points, most: int, distance: float) -> list[list[int]]:
    """Divide points (P, 2) into groups of at most `most` that lie at least `distance` apart from each other.

    Tokens of one embedding compete for every place, so neighbours must not share one. Each group begins with the first
    point that is left and takes up the farthest one, again and again.
    """
    left = list(range(len(places)))
    groups = []
    while left:
        group = [left.pop(0)]
        while left and len(group) < most:
            gaps = _gaps(places[left], places[group])
            if gaps.max() < distance:
                break
            group.append(left.pop(int(gaps.argmax())))
        groups.append(sorted(group))
    return groups


def _gaps(places: Points, others: Points) -> npt.NDArray[np.float64]:
    """Distance (P,) of each place to the nearest of others."""
    gaps: npt.NDArray[np.float64] = np.linalg.norm(places[:, None] - others[None], axis=-1).min(axis=1)
    return gaps
