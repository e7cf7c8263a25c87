"""A mesh as tensors, ready to be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from alignment.mesh import Mesh

_TINY_AREA = 1e-12


@dataclass(frozen=True)
class Surface:
    """M vertices and F triangles on a device.

    Attributes:
        vertices: (M, 3) float32 in the canonical frame.
        faces: (F, 3) int64, rows of `vertices`.
        colours: (M, 3) in [0, 1], or None.
        uv: (M, 2) in [0, 1], y down, or None.
        texture: (3, H, W) in [0, 1], or None.
    """

    vertices: Tensor
    faces: Tensor
    colours: Tensor | None = None
    uv: Tensor | None = None
    texture: Tensor | None = None

    @classmethod
    def of(cls, mesh: Mesh, device: torch.device | str = "cpu") -> Surface:
        """Copy a mesh to a device."""
        colours = None if mesh.colours is None else torch.from_numpy(mesh.colours / np.float32(255))
        texture = None
        if mesh.texture is not None:
            texture = torch.from_numpy(mesh.texture / np.float32(255)).permute(2, 0, 1).contiguous()
        uv = None if mesh.uv is None else torch.from_numpy(np.array(mesh.uv, dtype=np.float32))
        vertices = torch.from_numpy(np.array(mesh.vertices, dtype=np.float32))
        faces = torch.from_numpy(np.array(mesh.faces, dtype=np.int64))
        return cls(vertices, faces, colours, uv, texture).to(device)

    def to(self, device: torch.device | str) -> Surface:
        """The same on a device."""
        moved = (
            None if each is None else each.to(device)
            for each in (self.vertices, self.faces, self.colours, self.uv, self.texture)
        )
        vertices, faces, colours, uv, texture = moved
        assert vertices is not None
        assert faces is not None
        return Surface(vertices, faces, colours, uv, texture)

    @property
    def is_coloured(self) -> bool:
        """Tell whether anything is known of its colours."""
        return self.colours is not None or (self.texture is not None and self.uv is not None)

    @property
    def face_normals(self) -> Tensor:
        """Unit normals (F, 3), outward where faces are wound counterclockwise; 0 where a face has no area."""
        return normalize(self._crosses(), dim=-1)

    def samples(self, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
        """Draw `count` points spread evenly over the surface.

        Returns:
            Points (count, 3) and the unit normals (count, 3) of their faces.

        Raises:
            ValueError: the surface has no area.
        """
        crosses = self._crosses().double().cpu()
        areas = crosses.norm(dim=-1)
        if float(areas.sum()) < _TINY_AREA:
            raise ValueError("the mesh has no area; give one whose triangles are not all points or lines")
        generator = torch.Generator().manual_seed(seed)
        # Stratified, so that few points cover the surface too.
        strata = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        chosen = torch.searchsorted(areas.cumsum(0) / areas.sum(), strata.double()).clamp_max(len(areas) - 1)
        u, v = torch.rand(2, count, 1, generator=generator)
        u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
        corners = self.vertices.cpu()[self.faces.cpu()[chosen]]
        points = corners[:, 0] + u * (corners[:, 1] - corners[:, 0]) + v * (corners[:, 2] - corners[:, 0])
        normals = normalize(crosses[chosen], dim=-1).float()
        return points.to(self.vertices.device), normals.to(self.vertices.device)

    def _crosses(self) -> Tensor:
        corners = self.vertices[self.faces]
        crosses: Tensor = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return crosses
