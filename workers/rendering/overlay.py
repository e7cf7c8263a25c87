"""A shape drawn over a photograph from its estimated camera: what fits and what does not is seen at once."""

from __future__ import annotations

from dataclasses import dataclass

import fast_simplification
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool2d

from alignment.camera import Camera
from workers.geometry.cameras import Cameras, of_results
from workers.rendering.rasteriser import rasterise
from workers.rendering.surface import Surface
from workers.rendering.views import render

Rgb = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

SHAPE_LINE = (255, 106, 0)
MASK_LINE = (0, 214, 230)
_DARK = (18, 20, 24)
_RENDER_OPACITY = 0.62
_WIRE_FACES = 900
_WIRE_OPACITY = 0.16
_SUPERSAMPLING = 2
_MOST_ENLARGED = 2.0
_DARKENED = 0.32
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_HALF = 127.5


@dataclass(frozen=True)
class OverlaidShape:
    """A surface and a coarse copy of it, whose triangles are large enough to be seen as lines."""

    surface: Surface
    wire: Surface

    @classmethod
    def of(cls, surface: Surface) -> OverlaidShape:
        """Prepare a surface; one serves all images."""
        share = 1 - _WIRE_FACES / max(len(surface.faces), 1)
        if share <= 0:
            return cls(surface, surface)
        vertices, faces = fast_simplification.simplify(
            surface.vertices.cpu().numpy(), surface.faces.cpu().numpy().astype(np.int32), target_reduction=share
        )
        coarse = Surface(torch.from_numpy(vertices).float(), torch.from_numpy(faces.astype(np.int64)))
        return cls(surface, coarse.to(surface.vertices.device))


def overlay(rgb: Rgb, shape: OverlaidShape, camera: Camera, mask: Mask | None = None, *, side: int = 512) -> Rgb:
    """Blend a shape over an image: its colours, its outline in orange, its triangles faintly, and the mask's in cyan.

    Args:
        rgb: (H, W, 3), as uploaded.
        shape: in the canonical frame.
        camera: of the image.
        mask: (H, W) in 0..255, where the object is; None draws no outline of it.
        side: longer side of what is returned, in pixels; small images are enlarged to twice their size at most.

    Returns:
        (h, w, 3).
    """
    canvas = _fitted(rgb, side)
    height, width = canvas.shape[:2]
    window, square = _square(width, height)
    cameras = of_results([camera]).to(shape.surface.vertices.device)
    views = render(shape.surface, cameras, window.to(cameras.focal), square, supersampling=_SUPERSAMPLING)
    shown = _cropped(views.mask[0], width, height)
    colours = 255 * _cropped(views.rgb[0], width, height)
    # The render lies on white: what the background adds to its rim is taken off again.
    canvas = canvas * (1 - _RENDER_OPACITY * shown) + _RENDER_OPACITY * (colours - 255 * (1 - shown))
    wire = _cropped(_edges(shape.wire, cameras, window, square), width, height)
    canvas = _blend(canvas, _DARK, _WIRE_OPACITY * (wire * shown)[..., 0])
    if mask is not None:
        canvas = _outlined(canvas, _fitted(mask, side), MASK_LINE)
    return _pixels(_outlined(canvas, 255 * shown[..., 0], SHAPE_LINE))


def overlay_without_pose(rgb: Rgb, mask: Mask | None = None, *, side: int = 512) -> Rgb:
    """Return the picture for an image without a pose: dark and greyish, with the mask's outline.

    Arguments are those of `overlay`.
    """
    picture = _fitted(rgb, side)
    grey = picture @ _LUMA
    canvas = (_DARKENED * (0.35 * picture + 0.65 * grey[..., None])).astype(np.float32)
    if mask is not None:
        canvas = _outlined(canvas, _fitted(mask, side), MASK_LINE)
    return _pixels(canvas)


def _fitted(picture: npt.NDArray[np.uint8], side: int) -> Float32:
    """Resize a picture (H, W, 3) or mask (H, W)."""
    height, width = picture.shape[:2]
    scale = min(side / max(height, width), _MOST_ENLARGED)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(resized, dtype=np.float32)


def _square(width: int, height: int) -> tuple[Tensor, int]:
    """Window (1, 3) and pixels of the square that holds a picture and has its upper left corner."""
    side = max(width, height)
    return torch.tensor([[(side - width) / height, (side - height) / height, side / height]]), side


def _cropped(maps: Tensor, width: int, height: int) -> Float32:
    """Cut a picture (H, W, C) out of its square (C, S, S)."""
    cut: Float32 = maps[:, :height, :width].permute(1, 2, 0).cpu().numpy()
    return cut


def _edges(wire: Surface, cameras: Cameras, window: Tensor, size: int) -> Tensor:
    """Share (1, S, S) of each pixel in which one triangle ends and another begins."""
    fine = rasterise(wire.vertices, wire.faces, cameras, window.to(cameras.focal), size * _SUPERSAMPLING).faces
    changes = torch.zeros_like(fine, dtype=torch.float32)
    changes[:, 1:] += (fine[:, 1:] != fine[:, :-1]) & (fine[:, 1:] >= 0) & (fine[:, :-1] >= 0)
    changes[:, :, 1:] += (fine[:, :, 1:] != fine[:, :, :-1]) & (fine[:, :, 1:] >= 0) & (fine[:, :, :-1] >= 0)
    share = avg_pool2d(changes.clamp_max(1), _SUPERSAMPLING)
    return (share * _SUPERSAMPLING).clamp_max(1)


def _outlined(canvas: Float32, mask: Float32, colour: tuple[int, int, int]) -> Float32:
    """Draw the border of a mask (h, w) in 0..255 as a line with a dark rim."""
    away = _to_border(mask)
    width = max(1.6, min(canvas.shape[:2]) / 220)
    canvas = _blend(canvas, _DARK, 0.45 * (width / 2 + 1.5 - away).clip(0, 1))
    return _blend(canvas, colour, (width / 2 + 0.5 - away).clip(0, 1))


def _to_border(mask: Float32) -> Float32:
    """Distance in pixels (h, w) to where a mask passes one half; large where it never does."""
    inside = mask > _HALF
    if inside.all() or not inside.any():
        return np.full(mask.shape, np.float32(1e6))
    signed = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    smooth: Float32 = np.abs(ndimage.gaussian_filter(signed - 0.5 * np.sign(signed), 0.8)).astype(np.float32)
    return smooth


def _blend(canvas: Float32, colour: tuple[int, int, int], share: Float32) -> Float32:
    painted: Float32 = canvas + share[..., None] * (np.array(colour, dtype=np.float32) - canvas)
    return painted


def _pixels(canvas: Float32) -> Rgb:
    rgb: Rgb = canvas.round().clip(0, 255).astype(np.uint8)
    return rgb
