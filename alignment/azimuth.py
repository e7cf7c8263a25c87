"""The side from which an object is seen, in equal bins of a turn."""

from api_schemas.annotations.model import AZIMUTH_BINS

AZIMUTH_GAPS = AZIMUTH_BINS // 2 + 1


def azimuth_gap(a: int, b: int, bins: int = AZIMUTH_BINS) -> int:
    """Return how many bins two azimuths lie apart the short way round: 0 to bins // 2.

    Source: the azimuth difference of Telling Left from Right (arXiv 2311.17034), with 8 bins of 45 degrees.
    """
    apart = abs(a - b) % bins
    return min(apart, bins - apart)
