"""What differs between two fish apart from their shape: colours, contrast of the bands, kind of pattern."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Pattern = Literal["plain", "spots", "lines", "maze", "speckles"]


@dataclass(frozen=True)
class Palette:
    """Colours as hexadecimal RGB."""

    back: str
    flank: str
    belly: str
    band: str
    fin: str
    trim: str
    rear: str
    iris: str


@dataclass(frozen=True)
class Style:
    """Paint of one individual.

    Attributes:
        palette: its colours.
        bands: opacity of the eye band, shoulder band, middle band and tail band, each in [0, 1].
        rear: opacity of the rear colour in [0, 1].
        pattern: texture laid over the flank, unrelated between individuals.
        pattern_strength: its opacity in [0, 1].
        pattern_cell: its period in canonical units.
        pattern_phase: its offset, two numbers in [0, 1].
        scales: strength of the scales in [0, 1].
        gloss: strength of the highlights in [0, 1].
    """

    palette: Palette
    bands: tuple[float, float, float, float]
    rear: float
    pattern: Pattern
    pattern_strength: float
    pattern_cell: float
    pattern_phase: tuple[float, float]
    scales: float
    gloss: float


PALETTES = (
    Palette("e0a100", "ffd21f", "fff6d8", "17161c", "ffc21a", "1b1a22", "ff9a00", "f4efe2"),
    Palette("0d2f8f", "1f62e0", "6fb4ff", "0a1440", "1a4fd0", "ffd83a", "ffd02a", "ffb02e"),
    Palette("c9400f", "ff7a1a", "ffb765", "fdf6ec", "ff8a24", "1d1414", "f2560d", "ffdf9a"),
    Palette("0f7f86", "27bdb4", "b9f2dc", "a3241d", "1fa9b3", "e8542c", "1591b8", "ff5a2b"),
    Palette("8e9bb0", "dfe6ee", "ffffff", "20242e", "c3cfdd", "5a677d", "f3cf5b", "e8b83b"),
    Palette("7f0f23", "d2213a", "ff8f7a", "4b0715", "b8152e", "ffd36b", "ff5b3d", "ffe08a"),
    Palette("4d1e86", "8a3fcf", "d79bf0", "2a0f55", "7a33c4", "ff8fd0", "ffc53a", "ffd23f"),
    Palette("1d5f2d", "4caf50", "d8efac", "6b2f12", "3c9a48", "f0e27a", "b5d334", "ff9d3c"),
    Palette("b65b86", "f3a6c2", "fff0f3", "6a2f7d", "ef86b3", "fff3f8", "c06ad6", "fff0c0"),
    Palette("5b3f2a", "b58a5a", "f3e3c3", "35221a", "9c7247", "f8efd8", "d98f45", "ffd27a"),
    Palette("0b4f5f", "10899a", "ffd9a8", "f0812e", "f58a2c", "0b3f50", "ff9d3f", "ffe27a"),
    Palette("10162f", "27345f", "8ea2d8", "e9eefc", "1a2447", "ff6a3d", "3d5fb0", "ffef9f"),
    Palette("6e7f1c", "c3cf3d", "f9f9c8", "214f4a", "e4d63f", "2d6e66", "4cb39a", "ff7043"),
    Palette("274b6d", "6fa8cf", "f7fbff", "f2b632", "4f8fbf", "ffffff", "f6c445", "ffd54f"),
)
_PATTERNS: tuple[Pattern, ...] = ("plain", "spots", "lines", "maze", "speckles")


def random_style(palette: Palette, rng: np.random.Generator) -> Style:
    """Draw the paint of one individual; the bands are always there, but some of them faint."""
    strengths = rng.uniform(0.25, 1.0, size=4)
    pattern = _PATTERNS[int(rng.integers(len(_PATTERNS)))]
    return Style(
        palette=palette,
        bands=(0.35 + 0.65 * strengths[0], strengths[1], strengths[2], 0.8 * strengths[3]),
        rear=float(rng.uniform(0.25, 0.9)),
        pattern=pattern,
        pattern_strength=float(rng.uniform(0.35, 0.7)),
        pattern_cell=float(rng.uniform(0.028, 0.042)),
        pattern_phase=(float(rng.uniform()), float(rng.uniform())),
        scales=float(rng.uniform(0.35, 0.9)),
        gloss=float(rng.uniform(0.5, 1.0)),
    )


def rgb(colour: str) -> Float32:
    """Hexadecimal RGB to three numbers in [0, 1]."""
    return np.array([int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)], dtype=np.float32)
