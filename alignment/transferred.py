"""Points that a result has carried from one frame to another."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.sampling import known, within


@dataclass(frozen=True)
class Transferred:
    """P points in the target frame, in the order in which they were asked for."""

    points: npt.NDArray[np.float64]
    """(P, 2), image pixels or canonical coordinates; NaN where there is no correspondence."""
    confidence: npt.NDArray[np.float64]
    """(P,) in [0, 1]; 0 where there is no correspondence."""
    inside: npt.NDArray[np.bool_]
    """(P,), whether the point lies within the target's frame."""


def transferred(
    points: npt.NDArray[np.float64], confidence: npt.NDArray[np.float64], extent: npt.NDArray[np.float64]
) -> Transferred:
    """Put carried points (P, 2) and their confidence (P,) into one answer for a target of the given extent (2,)."""
    return Transferred(points, np.where(known(points), np.nan_to_num(confidence), 0.0), within(points, extent))
