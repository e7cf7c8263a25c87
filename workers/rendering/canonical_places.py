"""Canonical places as colours: x is red, y green, z blue, grey in the middle of the frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_WHITE = 1.0
_MIDDLE = 0.5


def places_picture(places: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    """Colour canonical places (H, W, 3) in [-0.5, 0.5] by place + 0.5, (H, W, 3); NaN is white."""
    known = np.isfinite(places).all(axis=-1, keepdims=True)
    colours = np.where(known, np.nan_to_num(np.asarray(places, dtype=np.float64)) + _MIDDLE, _WHITE)
    pixels: npt.NDArray[np.uint8] = (colours.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels
