"""Small pictures of one kind of thing: a marked disc that moves, turns and changes colour."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def write_pictures(folder: Path, count: int, *, seed: int = 0, side: int = 128) -> list[Path]:
    """Write `count` different PNG pictures and return their paths in order."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    paths = [folder / f"{index:02d}.png" for index in range(count)]
    for path in paths:
        paint(rng, side=side).save(path)
    return paths


def paint(rng: np.random.Generator, *, side: int) -> Image.Image:
    """Paint one disc with two eyes and a mouth on a speckled ground."""
    ground = rng.integers(90, 110, size=(side, side, 3), dtype=np.uint8)
    picture = Image.fromarray(ground)
    x, y = rng.uniform(0.4, 0.6, size=2) * side
    radius = rng.uniform(0.25, 0.3) * side
    draw = ImageDraw.Draw(picture)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tuple(rng.integers(180, 255, size=3)))
    for eye in (-0.4, 0.4):
        centre = (x + eye * radius, y - 0.3 * radius)
        draw.circle(centre, 0.15 * radius, fill="black")
    draw.arc((x - radius / 2, y, x + radius / 2, y + radius / 2), 0, 180, fill="red", width=3)
    return picture
