"""A shape carved from photographs whose masks and cameras are known, in their colours.

A place belongs to the visual hull if (nearly) all masks show it (Laurentini 1994); hollows that no outline tells of
stay full.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from scipy.spatial import KDTree
from skimage.measure import marching_cubes
from torch import Tensor
from torch.nn.functional import grid_sample

from alignment.mesh import GREY, Mesh
from alignment.pose_scores import procrustes
from api_schemas.methods.congealing_3d import UpAxis
from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.canonical import in_canonical_frame
from workers.rendering.rasteriser import rasterise

Mask = npt.NDArray[np.bool_]
Rgb = npt.NDArray[np.uint8]

_FEWEST = 2
_COARSE = 48
_ROOM = 1.5
_LEAST_PART = 0.01
_POINTS_AT_ONCE = 1 << 18
_SEEN_CELLS = 2.0
_RIM_PX = 1.5


@dataclass(frozen=True)
class CarvingOptions:
    """How finely and how strictly is carved.

    Attributes:
        cells: along the longest side of the object's box.
        dissent: share of the masks, rounded down, that may leave out what belongs to the object.
    """

    cells: int = 128
    dissent: float = 0.05


DEFAULTS = CarvingOptions()


@torch.no_grad()
def carved(
    masks: Sequence[Mask],
    cameras: Cameras,
    *,
    pictures: Sequence[Rgb] | None = None,
    options: CarvingOptions = DEFAULTS,
) -> Mesh:
    """Carve the visual hull.

    Parts of less than a hundredth of its volume are dropped.

    Args:
        masks: (H, W) each, where the object is; it must be whole in every picture.
        cameras: of the pictures, in any right-handed frame.
        pictures: (H, W, 3) each; a vertex gets the median of the colours in the pictures that see it, or the colour of
            the nearest vertex that any picture sees. None leaves the mesh without colours.
        options: settings.

    Returns:
        A closed mesh in the frame of the cameras.

    Raises:
        ValueError: fewer than two masks, or not as many as cameras or pictures; an empty mask; or masks and cameras
            that leave nothing.
    """
    _require_fitting(masks, cameras, pictures)
    views = _Views.of(masks, cameras)
    field, low, cell = views.field(options)
    grid = np.pad(field, 1, constant_values=-cell)
    vertices, faces, _, _ = marching_cubes(grid, 0.0)  # type: ignore[no-untyped-call]
    placed = (low + cell * (vertices - 1)).astype(np.float32)
    mesh = Mesh(placed, _outward(placed, faces.astype(np.int32)))
    return mesh if pictures is None else replace(mesh, colours=_colours(mesh, views, pictures, cell))


def brought_to_canonical_frame(mesh: Mesh, cameras: Cameras, *, up_axis: UpAxis = "y") -> tuple[Mesh, Cameras]:
    """Move a mesh and the cameras around it together to where `in_canonical_frame` puts the mesh."""
    moved = in_canonical_frame(mesh, up_axis=up_axis)
    similarity = procrustes(mesh.vertices.astype(np.float64), moved.vertices.astype(np.float64))
    turn = torch.from_numpy(similarity.rotation).to(cameras.rotation)
    shift = torch.from_numpy(similarity.translation).to(cameras.translation)
    rotation = cameras.rotation @ turn.T
    return moved, Cameras(rotation, similarity.scale * cameras.translation - rotation @ shift, cameras.focal)


@dataclass(frozen=True)
class _Views:
    """V cameras with what their masks tell.

    Attributes:
        cameras: V of them.
        inside: (1, H, W) each, how many pixels a place lies within the mask's border; negative beside the object.
    """

    cameras: Cameras
    inside: list[Tensor]

    @classmethod
    def of(cls, masks: Sequence[Mask], cameras: Cameras) -> _Views:
        """Measure how far pixels lie from borders; the picture's border bounds the object, too."""
        return cls(cameras, [torch.from_numpy(_signed_distance(mask)).unsqueeze(0) for mask in masks])

    def read(self, index: int, maps: Tensor, points: Tensor) -> Tensor:
        """Read maps (C, H, W) of camera `index` where it sees points (M, 3): (C, M)."""
        height, width = maps.shape[-2:]
        places, _ = self.cameras[index].project(points)
        places = places / torch.tensor([width / height, 1.0])
        found = grid_sample(maps[None], places[:, None], padding_mode="border", align_corners=False)
        return found[0, :, 0]

    def field(self, options: CarvingOptions) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64], float]:
        """Values (X, Y, Z) that are positive inside the hull, the place (3,) of the first, and the step between them.

        Raises:
            ValueError: nothing is inside.
        """
        allowed = int(options.dissent * len(self.inside))
        middle, reach = self._around()
        coarse = 2 * reach / (_COARSE - 1)
        rough = self._values(middle - reach, coarse, (_COARSE,) * 3, allowed)
        # Thin parts may pass between the places that are looked at.
        near = np.argwhere(rough > -coarse)
        if not len(near):
            raise ValueError(_nothing(len(self.inside), allowed))
        low, high = (middle - reach + coarse * (near.min(axis=0) - 1), middle - reach + coarse * (near.max(axis=0) + 1))
        cell = float((high - low).max()) / options.cells
        counts = np.ceil((high - low) / cell).astype(int) + 1
        field = _without_crumbs(self._values(low, cell, tuple(counts), allowed), cell)
        if field.max() <= 0:
            raise ValueError(_nothing(len(self.inside), allowed))
        return field, low, cell

    def _values(
        self, low: npt.NDArray[np.float64], step: float, counts: tuple[int, ...], allowed: int
    ) -> npt.NDArray[np.float32]:
        """How far places lie within the cones of all masks but the `allowed` worst, in units of the frame."""
        axes = [torch.from_numpy(start + step * np.arange(count)) for start, count in zip(low, counts, strict=True)]
        points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 3).float()
        parts = []
        for some in torch.split(points, _POINTS_AT_ONCE):
            votes = torch.stack([self._depth_within(index, some) for index in range(len(self.inside))])
            parts.append(votes.kthvalue(allowed + 1, dim=0).values)
        found: npt.NDArray[np.float32] = torch.cat(parts).view(counts).numpy()
        return found

    def _depth_within(self, index: int, points: Tensor) -> Tensor:
        """How far points (M, 3) lie within the cone of a mask, in units of the frame; what is behind lies outside."""
        pixels = self.read(index, self.inside[index], points)[0]
        _, depth = self.cameras[index].project(points)
        focal_px = self.cameras.focal[index] * self.inside[index].shape[-2] / 2
        return torch.where(depth[0] > 0, pixels * depth[0] / focal_px, -torch.inf)

    def _around(self) -> tuple[npt.NDArray[np.float64], float]:
        """Middle (3,) and half side of a cube that holds the object: where the rays to the masks' middles meet."""
        boxes = torch.stack([_mask_box(inside[0]) for inside in self.inside])
        focal = self.cameras.focal[:, None]
        rays = torch.cat([boxes[:, :2] / focal, torch.ones(len(boxes), 1)], dim=1)
        rays = torch.nn.functional.normalize(rays, dim=1)[:, None] @ self.cameras.rotation
        across = (torch.eye(3) - rays.transpose(1, 2) @ rays).double()
        centres = self.cameras.centres.double()
        middle = torch.linalg.lstsq(across.sum(dim=0), (across @ centres.unsqueeze(-1)).sum(dim=0)).solution[:, 0]
        away = (centres - middle).norm(dim=1)
        return middle.numpy(), _ROOM * float((boxes[:, 2] / focal[:, 0] * away).max())


def _require_fitting(masks: Sequence[Mask], cameras: Cameras, pictures: Sequence[Rgb] | None) -> None:
    if len(masks) < _FEWEST or len(masks) != len(cameras):
        raise ValueError(f"{len(masks)} masks and {len(cameras)} cameras; give one of each for at least two pictures")
    shapes = [mask.shape for mask in masks]
    if pictures is not None and [picture.shape[:2] for picture in pictures] != shapes:
        raise ValueError(f"{len(pictures)} pictures do not fit {len(masks)} masks; give one of the same size for each")
    empty = [str(index) for index, mask in enumerate(masks) if not mask.any()]
    if empty:
        raise ValueError(f"masks {', '.join(empty)} are empty; leave their pictures out")


def _nothing(count: int, allowed: int) -> str:
    return (
        f"no place lies within {count - allowed} of {count} masks: check that masks and cameras belong together, or "
        "let more masks dissent"
    )


def _signed_distance(mask: Mask) -> npt.NDArray[np.float32]:
    """Pixels (H, W) from each pixel's centre to the border of a mask, negative outside."""
    framed = np.pad(mask, 1)
    signed = ndimage.distance_transform_edt(framed) - ndimage.distance_transform_edt(~framed)
    found: npt.NDArray[np.float32] = (signed - 0.5 * np.sign(signed))[1:-1, 1:-1].astype(np.float32)
    return found


def _mask_box(inside: Tensor) -> Tensor:
    """Middle x, y of a mask's box and half of its diagonal, (3,), in picture coordinates."""
    height, width = inside.shape
    rows, columns = (inside > 0).nonzero(as_tuple=True)
    low = torch.stack([columns.min(), rows.min()])
    high = torch.stack([columns.max(), rows.max()]) + 1
    middle = (low + high - torch.tensor([width, height])) / height
    return torch.cat([middle, (high - low).float().norm(dim=0, keepdim=True) / height])


def _without_crumbs(field: npt.NDArray[np.float32], cell: float) -> npt.NDArray[np.float32]:
    """Empty what is solid but hangs together with nothing large."""
    labels, _ = ndimage.label(field > 0)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    crumbs = (counts < _LEAST_PART * counts.sum()) & (counts > 0)
    return np.where(crumbs[labels], np.float32(-cell), field)


def _outward(vertices: npt.NDArray[np.float32], faces: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
    """Faces wound counterclockwise seen from outside: so that the volume is positive."""
    a, b, c = vertices.astype(np.float64)[faces].transpose(1, 0, 2)
    a, b, c = (corner - vertices.mean(axis=0) for corner in (a, b, c))
    return faces if np.einsum("ij,ij->", a, np.cross(b, c)) >= 0 else faces[:, ::-1].copy()


def _colours(mesh: Mesh, views: _Views, pictures: Sequence[Rgb], cell: float) -> Rgb:
    """The median colour (M, 3) of each vertex in the pictures that see it."""
    vertices, faces = torch.from_numpy(mesh.vertices), torch.from_numpy(mesh.faces.astype(np.int64))
    seen = torch.full((len(pictures), len(vertices), 3), torch.nan)
    for index, picture in enumerate(pictures):
        rgb = torch.from_numpy(picture.astype(np.float32)).permute(2, 0, 1)
        visible = _visible(vertices, faces, views, index, cell)
        seen[index, visible] = views.read(index, rgb, vertices[visible]).T
    colours = seen.nanmedian(dim=0).values.numpy()
    known = np.isfinite(colours[:, 0])
    if not known.any():
        return np.full(colours.shape, GREY, np.uint8)
    _, nearest = KDTree(mesh.vertices[known]).query(mesh.vertices)
    painted: Rgb = colours[known][nearest].round().astype(np.uint8)
    return painted


def _visible(vertices: Tensor, faces: Tensor, views: _Views, index: int, cell: float) -> Tensor:
    """Which vertices (M,) a camera sees, a little within the mask: the rim mixes with what is behind."""
    camera, inside = views.cameras[index], views.inside[index]
    height, width = inside.shape[-2:]
    half, side = max(1.0, width / height), max(height, width)
    shown = rasterise(vertices, faces, camera, torch.tensor([[0.0, 0.0, half]]), side).depth[0]
    places, depth = camera.project(vertices)
    column, row = ((places[0] / half + 1) * side / 2).long().clamp(0, side - 1).unbind(dim=1)
    is_nearest = (depth[0] > 0) & (depth[0] < shown[row, column] + _SEEN_CELLS * cell)
    return is_nearest & (views.read(index, inside, vertices)[0] > _RIM_PX)
