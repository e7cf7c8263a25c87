"""Cluttered underwater backgrounds: water or sea floor, far things in the haze, near things, light from above."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from workers.evaluation import branches, stamps
from workers.evaluation.styles import rgb

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

GROWERS: dict[str, branches.Grower] = {
    "grass": branches.sea_grass,
    "coral": branches.branching_coral,
    "sponge": branches.tube_sponge,
    "urchin": branches.urchin,
}
STAMPS: dict[str, stamps.Stamp] = {
    "pebble": stamps.pebble,
    "bubble": stamps.bubble,
    "starfish": stamps.starfish,
    "shell": stamps.shell,
    "brain": stamps.brain_coral,
    "leaf": stamps.leaf,
}
FLOATING = ("bubble", "leaf")


@dataclass(frozen=True)
class Scene:
    """A kind of place.

    Attributes:
        top, bottom: colours of the water above and of the ground or depth below.
        horizon: height of the change between them, as a share of the picture.
        floor: where the ground begins, as a share of the picture; 0 if it is seen from above.
        grain: strength of the mottled ground.
        far, near: how many of which things, (least, most).
        colours: of those things.
        caustics: strength of the web of light.
    """

    top: str
    bottom: str
    horizon: float
    floor: float
    grain: float
    far: dict[str, tuple[int, int]]
    near: dict[str, tuple[int, int]]
    colours: tuple[str, ...]
    caustics: float


SCENES = (
    Scene("3fb4cf", "d8bf8c", 0.62, 0.56, 0.10, {"brain": (2, 4), "coral": (2, 3)},
          {"pebble": (14, 22), "shell": (3, 5), "starfish": (1, 3), "grass": (1, 3), "bubble": (2, 5)},
          ("b89468", "8d7f73", "d9a37a", "a85f48", "c9b9a0", "6d8f5a"), 0.16),
    Scene("0f6f8f", "0b3b55", 0.80, 0.45, 0.07, {"coral": (4, 6), "sponge": (2, 4), "brain": (2, 4)},
          {"coral": (3, 5), "sponge": (1, 3), "brain": (3, 5), "bubble": (4, 8), "urchin": (1, 2)},
          ("d9567a", "e08a3c", "8d5bc0", "c9b441", "4aa79a", "b0413f"), 0.08),
    Scene("7fbf9a", "2f5e3a", 0.70, 0.55, 0.08, {"grass": (7, 10)},
          {"grass": (6, 10), "leaf": (8, 14), "pebble": (5, 9), "bubble": (3, 6), "shell": (1, 2)},
          ("4f8f3f", "7fae3d", "2f6e4a", "a8b25a", "6d6a3f"), 0.14),
    Scene("7d6a5f", "4a3d3c", 0.50, 0.0, 0.22, {"brain": (5, 8)},
          {"pebble": (26, 38), "urchin": (2, 3), "starfish": (2, 3), "leaf": (4, 8), "shell": (2, 4)},
          ("8a7568", "6b5a55", "a58f7f", "5b6660", "9a6a5a", "c08f7a"), 0.10),
    Scene("1b3f8f", "0a1638", 0.70, 0.5, 0.04, {"coral": (4, 6), "urchin": (1, 3)},
          {"bubble": (12, 20), "coral": (2, 4), "leaf": (4, 7), "urchin": (1, 2)},
          ("5f4fb5", "3f7fb8", "b84f8f", "4fb8a8", "7f8fd0"), 0.05),
    Scene("9fe0dc", "e9dcb4", 0.45, 0.0, 0.12, {"pebble": (8, 14)},
          {"pebble": (18, 28), "shell": (4, 7), "starfish": (2, 4), "leaf": (3, 6), "bubble": (1, 3)},
          ("d8c39a", "b9a88a", "e0957a", "8fa8a0", "f0d9b8", "c77f5f"), 0.24),
)  # fmt: skip


def backdrop(width: int, height: int, *, scene: Scene, rng: np.random.Generator) -> Float32:
    """An opaque background (height, width, 3) in [0, 1]."""
    canvas = _ground(width, height, scene, rng)
    _scatter(canvas, scene.far, scene, rng, size=(0.16, 0.34))
    haze = _vertical(width, height, scene)
    canvas = 0.55 * canvas + 0.45 * haze
    canvas = _blur(canvas, 2.6)
    _scatter(canvas, scene.near, scene, rng, size=(0.07, 0.26))
    canvas = _blur(canvas, 0.5)
    return _caustics(canvas, scene.caustics, rng)


def cloud(width: int, height: int, rng: np.random.Generator, *, cells: int = 4, octaves: int = 4) -> Float32:
    """Smooth noise (height, width) of about zero mean and unit range."""
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        count = cells * 2**octave
        coarse = rng.uniform(-1, 1, size=(count, count)).astype(np.float32)
        fine = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(fine) * 0.55**octave
    return total


def _vertical(width: int, height: int, scene: Scene) -> Float32:
    level = (np.arange(height, dtype=np.float32) + 0.5) / height
    share = np.clip((level - scene.horizon + 0.3) / 0.6, 0, 1)[:, None, None]
    column = rgb(scene.top) * (1 - share) + rgb(scene.bottom) * share
    return np.repeat(column, width, axis=1).astype(np.float32)


def _ground(width: int, height: int, scene: Scene, rng: np.random.Generator) -> Float32:
    base = _vertical(width, height, scene)
    mottled = cloud(width, height, rng, octaves=6) * scene.grain
    drift = np.stack([cloud(width, height, rng, cells=3, octaves=2) for _ in range(3)], axis=-1)
    return np.asarray(np.clip(base * (1 + mottled[..., None]) + 0.05 * drift, 0, 1), dtype=np.float32)


def _scatter(
    canvas: Float32,
    things: dict[str, tuple[int, int]],
    scene: Scene,
    rng: np.random.Generator,
    *,
    size: tuple[float, float],
) -> None:
    """Draw the things in place, in a random order with those further up, so further away, first."""
    names = [name for name, (least, most) in things.items() for _ in range(int(rng.integers(least, most + 1)))]
    heights = np.sort(rng.uniform(0.02, 1.04, size=len(names)))
    for name, level in zip(rng.permutation(names), heights, strict=True):
        tint = rng.uniform(0.75, 1.15) * rng.uniform(0.9, 1.1, size=3)
        colour = np.clip(rgb(scene.colours[int(rng.integers(len(scene.colours)))]) * tint, 0, 1)
        lowest = 0.0 if name in FLOATING else scene.floor
        _draw(canvas, str(name), lowest + (1 - lowest) * float(level), colour, rng, size)


def _draw(
    canvas: Float32, name: str, level: float, colour: Float64, rng: np.random.Generator, size: tuple[float, float]
) -> None:
    height, width = canvas.shape[:2]
    x = float(rng.uniform(-0.02, 1.02)) * width
    if name in GROWERS:
        tall = float(rng.uniform(1.0, 1.9)) * size[1] * height
        root = (x, (0.15 + 0.9 * level) * height)
        branches.grow(canvas, GROWERS[name], root=root, size=tall, colour=colour, rng=rng)
        return
    low, high = size
    radius = (low + (high - low) * float(rng.beta(1.3, 3.0))) * height / 2
    radius *= 0.5 if name == "bubble" else 1.0
    stamps.place(
        canvas,
        STAMPS[name],
        centre=(x, level * height),
        radius=radius,
        colour=colour,
        shadow=0.0 if name in FLOATING else 0.4,
        rng=rng,
    )


def _blur(canvas: Float32, sigma: float) -> Float32:
    blurred: Float32 = ndimage.gaussian_filter(canvas, (sigma, sigma, 0))
    return blurred


def _caustics(canvas: Float32, strength: float, rng: np.random.Generator) -> Float32:
    height, width = canvas.shape[:2]
    web = 1 - np.minimum(np.abs(cloud(width, height, rng, cells=9, octaves=2)) * 2.2, 1)
    return np.clip(canvas * (1 + strength * (web[..., None] ** 3 * 2 - 0.5)), 0, 1).astype(np.float32)
