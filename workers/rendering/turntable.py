"""A shape that turns once round, on white."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from workers.backbones.base import Tick, no_tick
from workers.geometry.cameras import looking_at_origin
from workers.rendering.surface import Surface
from workers.rendering.views import look

Rgb = npt.NDArray[np.uint8]

ELEVATION_DEG = 15.0
FOV_DEG = 40.0
DISTANCE = 1.5
_FIRST_AZIMUTH_DEG = -60.0


def turntable(surface: Surface, *, count: int = 36, size: int = 288, tick: Tick = no_tick) -> list[Rgb]:
    """Draw a surface in the canonical frame from all sides, evenly; the first picture sees it from its front right.

    The cameras are those that threestudio evaluates with (elevation 15, field of view 40, three radii away).

    Args:
        surface: on any device.
        count: pictures of the whole turn.
        size: pixels a side.
        tick: called after each picture.

    Returns:
        `count` pictures (size, size, 3).
    """
    azimuth = _FIRST_AZIMUTH_DEG + 360 * torch.arange(count, dtype=torch.float32) / count
    flat = torch.ones(count)
    cameras = looking_at_origin(azimuth, ELEVATION_DEG * flat, DISTANCE * flat, FOV_DEG * flat)
    cameras = cameras.to(surface.vertices.device)
    window = torch.tensor([[0.0, 0.0, 1.0]], device=surface.vertices.device)
    frames: list[Rgb] = []
    for index in range(count):
        view = look(surface, cameras[index], window, size)[0][0]
        frames.append((view.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
        tick()
    return frames


def animated_webp(frames: Sequence[Rgb], *, duration_ms: int = 90, quality: int = 82) -> bytes:
    """Encode pictures (H, W, 3) of one size as an animated WebP that runs for ever.

    Args:
        frames: in order.
        duration_ms: of each.
        quality: of the compression, 0 to 100.

    Raises:
        ValueError: there are no frames.
    """
    if not frames:
        raise ValueError("an animation of no frames cannot be made; give at least one")
    first, *others = (Image.fromarray(frame) for frame in frames)
    stream = io.BytesIO()
    first.save(
        stream,
        format="WEBP",
        save_all=True,
        append_images=others,
        duration=duration_ms,
        loop=0,
        quality=quality,
        method=4,
    )
    return stream.getvalue()
