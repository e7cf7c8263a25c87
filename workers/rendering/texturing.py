"""A texture of its own for a mesh: every place of the surface has its place on one square."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import xatlas
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from alignment.mesh import GREY, Mesh
from workers.geometry.cameras import Cameras
from workers.rendering.rasteriser import Fragments, interpolate, rasterise
from workers.rendering.surface import Surface
from workers.rendering.views import surface_colours

_PADDING_PX = 2


@dataclass(frozen=True)
class Textured:
    """A mesh whose texture shows each place once.

    Attributes:
        mesh: the same surface, with other vertices where charts meet, places on the texture, and the texture.
        texels: (T, T, 3) float32, the canonical place of each texel's centre; NaN where there is no surface.
    """

    mesh: Mesh
    texels: npt.NDArray[np.float32]


def textured(mesh: Mesh, size: int) -> Textured:
    """Cut a mesh into charts, lay them side by side and paint its colours on them.

    Args:
        mesh: coloured or not; what has no colour becomes grey.
        size: side T of the texture in texels.
    """
    origin, faces, uv = _unwrapped(mesh, size)
    vertices = mesh.vertices[origin]
    surface = Surface.of(Mesh(vertices, faces, None if mesh.colours is None else mesh.colours[origin]))
    fragments = _on_texture(torch.from_numpy(uv), surface.faces, size)
    texels = interpolate(fragments, surface.faces, surface.vertices)[0].permute(1, 2, 0).numpy()
    shown = fragments.mask[0].numpy()
    painted = _painted(mesh, surface, fragments, origin)
    texture = _bled(painted, shown)
    return Textured(
        Mesh(vertices, faces, uv=uv, texture=texture),
        np.where(shown[..., None], texels, np.nan).astype(np.float32),
    )


def _unwrapped(mesh: Mesh, size: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """For each new vertex its old one (V',), the faces (F, 3), and places on the square (V', 2), y down."""
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    options = xatlas.PackOptions()
    options.resolution = size
    options.padding = _PADDING_PX
    options.bilinear = True
    atlas.generate(pack_options=options)
    origin, faces, uv = atlas[0]
    return origin.astype(np.int64), faces.astype(np.int32), np.clip(uv, 0, 1).astype(np.float32)


def _on_texture(uv: Tensor, faces: Tensor, size: int) -> Fragments:
    """Lay the faces flat on the square and draw them, seen straight from above."""
    flat = torch.cat([2 * uv - 1, torch.zeros(len(uv), 1)], dim=1)
    above = Cameras(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 1.0]]), torch.ones(1))
    return rasterise(flat, faces, above, torch.tensor([[0.0, 0.0, 1.0]]), size)


def _painted(
    mesh: Mesh, surface: Surface, fragments: Fragments, origin: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint8]:
    """Colours (T, T, 3) of the old mesh where the new texture shows it."""
    if not mesh.is_coloured:
        return np.full((*fragments.faces.shape[1:], 3), GREY, dtype=np.uint8)
    old = Surface.of(mesh)
    uv = None if old.uv is None else old.uv[torch.from_numpy(origin)]
    coloured = Surface(surface.vertices, surface.faces, surface.colours, uv, old.texture)
    colours = surface_colours(coloured, fragments)[0].permute(1, 2, 0)
    return (colours.clamp(0, 1) * 255).round().byte().numpy()


def _bled(texture: npt.NDArray[np.uint8], shown: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Fill the gaps between charts with the nearest colour, so that no seams show where pictures are read smoothly."""
    nearest = distance_transform_edt(~shown, return_distances=False, return_indices=True)
    return np.asarray(texture[tuple(nearest)], dtype=np.uint8)
