"""Growing things for backgrounds, drawn stroke by stroke: sea grass, branching corals, tube sponges, urchins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Grower = Callable[[ImageDraw.ImageDraw, Float64, float, Float64, np.random.Generator], None]

_OVERSAMPLING = 2


def grow(
    canvas: Float32,
    grower: Grower,
    *,
    root: tuple[float, float],
    size: float,
    colour: Float64,
    rng: np.random.Generator,
) -> None:
    """Draw a growing thing onto a canvas (H, W, 3), in place; `root` and `size` (its height) in pixels."""
    height, width = canvas.shape[:2]
    layer = Image.new("RGBA", (width * _OVERSAMPLING, height * _OVERSAMPLING), (*_bytes(0.5 * colour), 0))
    grower(ImageDraw.Draw(layer), _OVERSAMPLING * np.array(root), _OVERSAMPLING * size, colour, rng)
    small = np.asarray(layer.reduce(_OVERSAMPLING), dtype=np.float32) / 255
    weight = small[..., 3:]
    canvas[...] = canvas * (1 - weight) + small[..., :3] * weight


def _bytes(colour: Float64) -> tuple[int, int, int]:
    red, green, blue = (round(255 * float(value)) for value in np.clip(colour, 0, 1))
    return red, green, blue


def _rod(draw: ImageDraw.ImageDraw, start: Float64, end: Float64, width: float, colour: Float64) -> None:
    """A short shaded cylinder with round ends: dark rim, body, highlight to the upper left."""
    for share, tone, shift in ((1.0, 0.5, 0.0), (0.78, 0.95, -0.06), (0.32, 1.3, -0.18)):
        half = max(share * width / 2, 0.5)
        a, b = start + shift * width, end + shift * width
        fill = _bytes(np.clip(colour * tone, 0, 1))
        draw.line([*a, *b], fill=fill, width=max(round(2 * half), 1))
        for point in (a, b):
            draw.ellipse([*(point - half), *(point + half)], fill=fill)


def sea_grass(draw: ImageDraw.ImageDraw, root: Float64, size: float, colour: Float64, rng: np.random.Generator) -> None:
    """A tuft of bending blades."""
    for _ in range(int(rng.integers(6, 12))):
        foot = root + size * np.array([rng.normal(0, 0.16), rng.uniform(-0.04, 0.04)])
        lean, curl = rng.normal(0, 0.18), rng.normal(0, 0.35)
        t = np.linspace(0, 1, 16)
        length = size * rng.uniform(0.55, 1.0)
        spine = foot + length * np.stack([lean * t + curl * t**2, -t + 0.15 * np.abs(curl) * t**2], axis=1)
        half = 0.035 * size * (1 - t**2)[:, None] * [1.0, 0.15]
        shade = colour * rng.uniform(0.65, 1.2)
        for side, tone in ((-1.0, 1.15), (1.0, 0.75)):
            outline = np.concatenate([spine + side * half, spine[::-1]])
            draw.polygon([tuple(map(float, p)) for p in outline], fill=_bytes(shade * tone))


def branching_coral(
    draw: ImageDraw.ImageDraw, root: Float64, size: float, colour: Float64, rng: np.random.Generator
) -> None:
    """A forking coral with pale tips."""

    def branch(start: Float64, angle: float, length: float, width: float, depth: int) -> None:
        steps = 3
        for step in range(steps):
            end = start + length / steps * np.array([np.sin(angle), -np.cos(angle)])
            tint = 0.35 * (1 - depth / 4) * (step + 1) / steps
            _rod(draw, start, end, width, colour + tint * (1 - colour))
            start, angle, width = end, angle + rng.normal(0, 0.12), width * 0.93
        if depth:
            for turn in (-1, 1) if rng.uniform() < 0.85 else (-1, 0, 1):
                spread = turn * rng.uniform(0.28, 0.62) + rng.normal(0, 0.08)
                branch(start, angle + spread, length * rng.uniform(0.66, 0.86), width * 0.8, depth - 1)

    for lean in rng.normal(0, 0.35, size=int(rng.integers(1, 3))):
        branch(root.astype(np.float64), float(lean), 0.33 * size, 0.085 * size, 4)


def tube_sponge(
    draw: ImageDraw.ImageDraw, root: Float64, size: float, colour: Float64, rng: np.random.Generator
) -> None:
    """A few upright tubes with dark mouths."""
    for offset in np.sort(rng.uniform(-0.32, 0.32, size=int(rng.integers(3, 6)))):
        length, width = size * rng.uniform(0.45, 1.0), size * rng.uniform(0.14, 0.2)
        foot = root + np.array([offset * size, 0.0])
        top = foot + np.array([offset * 0.5 * size, -length])
        _rod(draw, foot, top, width, colour * rng.uniform(0.85, 1.1))
        rim = np.array([width * 0.5, width * 0.24])
        draw.ellipse([*(top - rim), *(top + rim)], fill=_bytes(colour * 1.25))
        draw.ellipse([*(top - 0.7 * rim), *(top + 0.7 * rim)], fill=_bytes(colour * 0.22))


def urchin(draw: ImageDraw.ImageDraw, root: Float64, size: float, colour: Float64, rng: np.random.Generator) -> None:
    """A ball of spines."""
    for angle in rng.uniform(0, 2 * np.pi, size=60):
        direction = np.array([np.cos(angle), np.sin(angle)])
        tip = root + 0.5 * size * rng.uniform(0.6, 1.0) * direction
        middle = root + 0.3 * size * direction
        draw.line([*root, *middle], fill=_bytes(0.45 * colour), width=max(round(0.018 * size), 2))
        draw.line([*middle, *tip], fill=_bytes(0.9 * colour), width=max(round(0.010 * size), 1))
    _rod(draw, root, root + 0.5, 0.36 * size, 0.5 * colour)
