"""Colours by how they look: the space OKLab, in which equal distances look equally large."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

_LMS_OF_LAB = np.array(
    [
        [1.0, 0.3963377774, 0.2158037573],
        [1.0, -0.1055613458, -0.0638541728],
        [1.0, -0.0894841775, -1.2914855480],
    ]
)
_RGB_OF_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)
_HALVINGS = 20
_ROUNDING = 1e-6


def rgb_of_lab(lab: Float64) -> npt.NDArray[np.uint8]:
    """Return sRGB colours (..., 3) of OKLab colours (..., 3); what sRGB cannot show is cut off.

    Björn Ottosson, "A perceptual color space for image processing", 2020.
    """
    linear = _linear_rgb(lab).clip(0, 1)
    value = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    pixels: npt.NDArray[np.uint8] = (255 * value).round().astype(np.uint8)
    return pixels


def vivid(hues: Float64, lightness: Float64, chroma: float) -> Float64:
    """Return OKLab colours (P, 3) of hues (P,) in radians and lightnesses (P,) in [0, 1].

    Each is as far from grey as sRGB can show it, at most `chroma`.
    """
    least, most = np.zeros_like(hues), np.full_like(hues, chroma)
    for _ in range(_HALVINGS):
        middle = (least + most) / 2
        shown = _linear_rgb(_polar(hues, lightness, middle))
        fits = ((shown >= -_ROUNDING) & (shown <= 1 + _ROUNDING)).all(axis=-1)
        least, most = np.where(fits, middle, least), np.where(fits, most, middle)
    return _polar(hues, lightness, least)


def _polar(hues: Float64, lightness: Float64, chroma: Float64) -> Float64:
    return np.stack([lightness, chroma * np.cos(hues), chroma * np.sin(hues)], axis=-1)


def _linear_rgb(lab: Float64) -> Float64:
    linear: Float64 = (lab @ _LMS_OF_LAB.T) ** 3 @ _RGB_OF_LMS.T
    return linear
