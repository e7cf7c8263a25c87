"""Put the painted object into its background and take the picture."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from workers.evaluation.anatomy import Fields, sample
from workers.evaluation.backdrop import cloud
from workers.evaluation.painting import Light, paint_fish
from workers.evaluation.shapes import OUTLINE
from workers.evaluation.styles import Style
from workers.evaluation.warps import Warp, pixel_centres

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

_OVERSAMPLING = 2


def add_object(canvas: Float32, warp: Warp, *, fields: Fields, style: Style, rng: np.random.Generator) -> None:
    """Paint the object and its shadow onto the canvas (H, W, 3), in place; the light is drawn from `rng`."""
    height, width = canvas.shape[:2]
    light = _light(warp.pose.rotation_rad, rng)
    rows, columns = _cells_around(warp, width, height)
    fine = pixel_centres((columns.stop - columns.start) * _OVERSAMPLING, (rows.stop - rows.start) * _OVERSAMPLING)
    canonical = warp.to_canonical(fine / _OVERSAMPLING + (columns.start, rows.start))
    near = sample(fields.silhouette, canonical) < 2 / warp.pose.scale_px
    softness = 1.2 / (_OVERSAMPLING * warp.pose.scale_px)
    colour, opacity = paint_fish(canonical[near], softness=softness, fields=fields, style=style, light=light)
    samples = np.zeros((*near.shape, 4), np.float32)
    samples[near] = np.concatenate([colour * opacity[:, None], opacity[:, None]], axis=1)
    layer = np.zeros((height, width, 4), np.float32)
    layer[rows, columns] = sum(
        samples[i::_OVERSAMPLING, j::_OVERSAMPLING] / _OVERSAMPLING**2
        for i in range(_OVERSAMPLING)
        for j in range(_OVERSAMPLING)
    )
    drop = 0.035 * warp.pose.scale_px
    shadow = ndimage.shift(layer[..., 3], (1.3 * drop, drop), order=1)
    canvas *= 1 - 0.42 * ndimage.gaussian_filter(shadow, drop)[..., None]
    canvas *= 1 - layer[..., 3:]
    canvas += layer[..., :3]


def _cells_around(warp: Warp, width: int, height: int) -> tuple[slice, slice]:
    """Rows and columns of the picture that hold the object, with a small border."""
    outline = warp.to_image(OUTLINE)
    low = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 3, 0)
    high = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 3, (width, height))
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _light(rotation_rad: float, rng: np.random.Generator) -> Light:
    """Light from above the picture, seen from the rotated canonical frame."""
    azimuth = math.radians(rng.uniform(-130, -65)) - rotation_rad
    lift = math.radians(rng.uniform(42, 58))
    return Light(math.cos(azimuth) * math.cos(lift), math.sin(azimuth) * math.cos(lift), math.sin(lift))


def develop(canvas: Float32, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """Uneven light over the whole picture, a vignette, sensor noise, 8 bits."""
    height, width = canvas.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.08, 0.24)
    gain = 1 + strength * (x * np.cos(angle) + y * np.sin(angle)) - 0.10 * (x**2 + y**2)
    gain += 0.04 * cloud(width, height, rng, cells=3, octaves=2)
    tint = 1 + rng.uniform(-0.05, 0.05, size=3)
    noise = rng.normal(0, rng.uniform(0.006, 0.016), size=canvas.shape)
    exposed: Float64 = np.clip(canvas * (gain[..., None] * tint) + noise, 0, 1)
    return np.rint(exposed * 255).astype(np.uint8)
