"""Pictures of a surface: colours, mask, depth and canonical places."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, normalize

from workers.geometry.cameras import Cameras
from workers.rendering.rasteriser import Fragments, interpolate, rasterise
from workers.rendering.surface import Surface

_PIXELS = 1 << 22
_GREY = 0.95
_AMBIENT = 0.25
_LIGHTS = ((-0.5, -0.7, -0.6), (0.7, -0.1, -0.5))
"""Towards the lights in the camera's axes: one over the left shoulder, a weaker one from the right."""
_STRENGTHS = (0.6, 0.25)


@dataclass(frozen=True)
class Views:
    """V pictures of S x S pixels.

    Attributes:
        rgb: (V, 3, S, S) in [0, 1].
        mask: (V, 1, S, S), share of each pixel that shows the surface, in [0, 1].
        coordinates: (V, 3, S, S), the canonical place at each pixel's centre; 0 where there is nothing.
        depth: (V, 1, S, S) along the camera's axis at each pixel's centre; 0 where there is nothing.
    """

    rgb: Tensor
    mask: Tensor
    coordinates: Tensor
    depth: Tensor

    @property
    def hit(self) -> Tensor:
        """Where pixel centres show the surface, (V, 1, S, S) bool."""
        return self.depth > 0


@torch.no_grad()
def render(
    surface: Surface,
    cameras: Cameras,
    windows: Tensor,
    size: int,
    *,
    background: float = 1.0,
    supersampling: int = 2,
) -> Views:
    """Draw a surface from V cameras through windows (V, 3); see `workers.rendering.rasteriser`.

    Colours are shown as they are, without light; a surface without any is drawn grey, lit from two sides.

    Args:
        surface: on the cameras' device.
        cameras: V of them.
        windows: square parts of the pictures: centre and half side in picture coordinates.
        size: pixels S a side.
        background: grey in [0, 1] where there is nothing.
        supersampling: colours and masks are means of so many pixels squared.
    """
    rgb, mask = look(surface, cameras, windows, size, background=background, supersampling=supersampling)
    fragments = rasterise(surface.vertices, surface.faces, cameras, windows, size)
    return Views(rgb, mask, interpolate(fragments, surface.faces, surface.vertices), fragments.depth.unsqueeze(1))


@torch.no_grad()
def look(
    surface: Surface,
    cameras: Cameras,
    windows: Tensor,
    size: int,
    *,
    background: float = 1.0,
    supersampling: int = 2,
) -> tuple[Tensor, Tensor]:
    """Draw colours (V, 3, S, S) and masks (V, 1, S, S) alone; arguments are those of `render`."""
    step = max(1, _PIXELS // (size * supersampling) ** 2)
    parts = []
    for start in range(0, len(cameras), step):
        seen, through = cameras[start : start + step], windows[start : start + step]
        fragments = rasterise(surface.vertices, surface.faces, seen, through, size * supersampling)
        mask = fragments.mask.unsqueeze(1)
        colours = surface_colours(surface, fragments) if surface.is_coloured else _lit(surface, fragments, seen)
        rgb = torch.where(mask, colours, background)
        parts.append((avg_pool2d(rgb, supersampling), avg_pool2d(mask.to(rgb), supersampling)))
    return torch.cat([rgb for rgb, _ in parts]), torch.cat([mask for _, mask in parts])


def surface_colours(surface: Surface, fragments: Fragments) -> Tensor:
    """Colours (V, 3, S, S) in [0, 1] of what is seen, of a surface that has any.

    Raises:
        ValueError: it has none.
    """
    if surface.texture is not None and surface.uv is not None:
        places = interpolate(fragments, surface.faces, surface.uv).permute(0, 2, 3, 1)
        texture = surface.texture.expand(len(places), -1, -1, -1)
        return grid_sample(texture, 2 * places - 1, padding_mode="border", align_corners=False)
    if surface.colours is None:
        raise ValueError("the surface has no colours")
    return interpolate(fragments, surface.faces, surface.colours)


def _lit(surface: Surface, fragments: Fragments, cameras: Cameras) -> Tensor:
    """Grey by Lambert's law; faces shine on the side that is seen."""
    normals = surface.face_normals @ cameras.rotation.transpose(1, 2)
    view, row, column = fragments.mask.nonzero(as_tuple=True)
    seen = normals[view, fragments.faces[view, row, column]]
    seen = torch.where(seen[:, 2:] > 0, -seen, seen)
    lights = normalize(torch.tensor(_LIGHTS, device=seen.device), dim=-1)
    shine = (seen @ lights.T).clamp_min(0) @ torch.tensor(_STRENGTHS, device=seen.device)
    pictures = seen.new_zeros(fragments.faces.shape)
    pictures[view, row, column] = (_GREY * (_AMBIENT + shine) / (_AMBIENT + sum(_STRENGTHS))).clamp(0, 1)
    return pictures.unsqueeze(1).expand(-1, 3, -1, -1)
