"""Pictures of procedural shapes from known cameras, with the place on the template that every pixel shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from workers.evaluation.backdrop import SCENES, backdrop
from workers.evaluation.compositing import develop
from workers.evaluation.place_code import marked_patches
from workers.evaluation.procedural_shapes import ProceduralShape
from workers.geometry.cameras import Cameras, joined, looking_at_origin
from workers.rendering.rasteriser import Fragments, interpolate, rasterise
from workers.rendering.surface import Surface

Rgb = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Look = Literal["natural", "places"]

_SUPERSAMPLING = 2
_SLACK = 0.02
_BACK_OFF = 1.05
_VISIBLE = 0.01
_AMBIENT = 0.62
_SUN = 0.55


@dataclass(frozen=True)
class Viewpoints:
    """From where pictures are taken; angles in degrees.

    Attributes:
        elevation_deg: least and most.
        fov_deg: least and most vertical field of view.
        distance: least and most factor of 0.625 / tan(fov / 2), from where a shape nearly fills a square picture.
        roll_deg: most, to either side.
        off_centre: share of the room beside the object by which it may stand out of the middle.
    """

    elevation_deg: tuple[float, float] = (-20.0, 60.0)
    fov_deg: tuple[float, float] = (20.0, 55.0)
    distance: tuple[float, float] = (0.7, 1.3)
    roll_deg: float = 0.0
    off_centre: float = 0.4


ANYWHERE = Viewpoints()


@dataclass(frozen=True)
class ShapeSet:
    """N pictures with their truth.

    Attributes:
        shapes: what each picture shows.
        pictures: (H, W, 3) uint8 each.
        masks: (H, W) bool each, pixels whose centre shows the object.
        cameras: N, as they were.
        coordinates: (H, W, 3) each, the place on the template that each pixel's centre shows, NaN beside the object.
        depths: (H, W) each, along the camera's axis; 0 beside the object.
    """

    shapes: tuple[ProceduralShape, ...]
    pictures: tuple[Rgb, ...]
    masks: tuple[npt.NDArray[np.bool_], ...]
    cameras: Cameras
    coordinates: tuple[Float32, ...]
    depths: tuple[Float32, ...]

    def seen_vertices(self, index: int) -> tuple[Float32, npt.NDArray[np.bool_]]:
        """Tell where picture `index` shows each vertex of its shape.

        Returns:
            (V, 2) pixels (x, y), hidden ones too; (V,) whether it is seen.
        """
        height, width = self.masks[index].shape
        points, depth = self.cameras[index].project(torch.from_numpy(self.shapes[index].mesh.vertices))
        pixels = (points[0].numpy() + np.array([width / height, 1])) * (height / 2)
        column, row = np.floor(pixels).astype(int).T
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        shown = self.depths[index][row.clip(0, height - 1), column.clip(0, width - 1)]
        visible = inside & (shown > 0) & (np.abs(shown - depth[0].numpy()) < _VISIBLE)
        return pixels.astype(np.float32), visible


def drawn_set(
    shapes: Sequence[ProceduralShape],
    count: int,
    seed: int,
    *,
    size: tuple[int, int] = (320, 256),
    look: Look = "natural",
    cluttered: bool = False,
    noise: float = 0.0,
    viewpoints: Viewpoints = ANYWHERE,
) -> ShapeSet:
    """Take pictures; the same arguments give the same bytes, and picture i depends on `seed` and i alone.

    Every object is whole in its picture; where the drawn camera stands too near for that, it moves back.

    Args:
        shapes: shown by turns.
        count: pictures.
        size: width and height in pixels.
        look: "natural": painted, in sunlight; "places": colours that `PlaceOracle` reads, without light.
        cluttered: put something behind the object: a scene, or for "places" coloured patches. Else white.
        noise: standard deviation of noise on all colours, which lie in [0, 1].
        viewpoints: from where.

    Raises:
        ValueError: no shapes, or `count` below 1.
    """
    if not shapes or count < 1:
        raise ValueError(f"{count} pictures of {len(shapes)} shapes cannot be drawn; ask for at least 1 of each")
    chosen = tuple(shapes[index % len(shapes)] for index in range(count))
    cameras, taken = [], []
    for index, shape in enumerate(chosen):
        camera_rng, scene_rng = (np.random.default_rng([seed, index, part]) for part in (1, 2))
        camera = _drawn_camera(shape, size, viewpoints, camera_rng)
        cameras.append(camera)
        taken.append(_Shot(shape, camera, size).taken(index, look, cluttered, noise, scene_rng))
    pictures, masks, coordinates, depths = zip(*taken, strict=True)
    return ShapeSet(chosen, pictures, masks, joined(cameras), coordinates, depths)


def _drawn_camera(
    shape: ProceduralShape, size: tuple[int, int], viewpoints: Viewpoints, rng: np.random.Generator
) -> Cameras:
    """Draw one camera; see `Viewpoints`."""
    azimuth, elevation = rng.uniform(-180, 180), rng.uniform(*viewpoints.elevation_deg)
    fov, roll = rng.uniform(*viewpoints.fov_deg), viewpoints.roll_deg * rng.uniform(-1, 1)
    distance = 0.625 / np.tan(np.radians(fov) / 2) * rng.uniform(*viewpoints.distance)
    share = viewpoints.off_centre * rng.uniform(-1, 1, 2)
    points = torch.from_numpy(shape.mesh.vertices)
    extent = (1 - _SLACK) * torch.tensor([size[0] / size[1], 1.0])
    while True:
        angles = (torch.tensor([value], dtype=torch.float32) for value in (azimuth, elevation, distance, fov, roll))
        camera = _off_centre(looking_at_origin(*angles), points, extent, torch.from_numpy(share).float())
        seen, depth = camera.project(points)
        if float(depth.min()) > 0 and bool((seen.abs() <= extent).all()):
            return camera
        distance, share = distance * _BACK_OFF, share / _BACK_OFF


def _off_centre(camera: Cameras, points: Tensor, extent: Tensor, share: Tensor) -> Cameras:
    """Move a camera sideways, so that the object's box uses up a share (2,) in [-1, 1] of the room beside it."""
    seen, _ = camera.project(points)
    low, high = seen[0].amin(dim=0), seen[0].amax(dim=0)
    room = (extent - (high - low) / 2).clamp_min(0)
    wanted = share * room - (low + high) / 2
    shift = wanted / camera.focal * camera.translation[0, 2]
    return Cameras(camera.rotation, camera.translation + torch.cat([shift, torch.zeros(1)])[None], camera.focal)


@dataclass(frozen=True)
class _Shot:
    """A shape before a camera that takes pictures of `size` (width, height) pixels."""

    shape: ProceduralShape
    camera: Cameras
    size: tuple[int, int]

    def taken(
        self, index: int, look: Look, cluttered: bool, noise: float, rng: np.random.Generator
    ) -> tuple[Rgb, npt.NDArray[np.bool_], Float32, Float32]:
        """Picture, mask, coordinates and depth."""
        surface = Surface.of(self.shape.mesh)
        exact, fine = self._fragments(1), self._fragments(_SUPERSAMPLING)
        places = self._cropped(interpolate(exact, surface.faces, torch.from_numpy(self.shape.places))[0])
        mask = self._cropped(exact.mask.float())[..., 0] > 0
        depth = self._cropped(exact.depth)[..., 0]
        colours = self._likeness(fine) if look == "places" else self._natural(surface, fine, rng)
        covered = fine.mask.unsqueeze(1).float()
        object_rgb = self._cropped(avg_pool2d(colours * covered, _SUPERSAMPLING)[0])
        opacity = self._cropped(avg_pool2d(covered, _SUPERSAMPLING)[0])
        canvas = self._ground(index, look, cluttered, opacity, rng) * (1 - opacity) + object_rgb
        if look == "natural" and cluttered:
            canvas = develop(canvas, rng).astype(np.float32) / 255
        canvas = canvas + noise * rng.normal(size=canvas.shape)
        rgb: Rgb = (canvas.clip(0, 1) * 255).round().astype(np.uint8)
        return rgb, mask, np.where(mask[..., None], places, np.nan).astype(np.float32), depth

    def _fragments(self, supersampling: int) -> Fragments:
        """Draw the square that holds the picture and has its upper left corner."""
        width, height = self.size
        side = max(width, height)
        window = torch.tensor([[(side - width) / height, (side - height) / height, side / height]])
        surface = Surface.of(self.shape.mesh)
        return rasterise(surface.vertices, surface.faces, self.camera, window, side * supersampling)

    def _cropped(self, maps: Tensor) -> Float32:
        """Cut the picture (H, W, C) out of its square (C, S, S)."""
        cut: Float32 = maps[:, : self.size[1], : self.size[0]].permute(1, 2, 0).numpy().astype(np.float32)
        return cut

    def _likeness(self, fragments: Fragments) -> Tensor:
        faces = torch.from_numpy(self.shape.mesh.faces).long()
        return interpolate(fragments, faces, torch.from_numpy(self.shape.likeness)) + 0.5

    def _natural(self, surface: Surface, fragments: Fragments, rng: np.random.Generator) -> Tensor:
        """Painted per pixel, with light from above."""
        values = torch.cat([torch.from_numpy(self.shape.places), _vertex_normals(surface)], dim=1)
        maps = interpolate(fragments, surface.faces, values)[0]
        places, normals = maps[:3, fragments.mask[0]].T, normalize(maps[3:, fragments.mask[0]].T, dim=1)
        paint = torch.from_numpy(self.shape.paint(places.double().numpy()))
        around, lift = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(40, 70))
        sun = torch.tensor([np.cos(lift) * np.cos(around), np.sin(lift), np.cos(lift) * np.sin(around)]).float()
        light = _AMBIENT * (0.8 + 0.2 * normals[:, 1]) + _SUN * (normals @ sun).clamp_min(0)
        picture = torch.zeros(1, *maps.shape[1:], 3)
        picture[0, fragments.mask[0]] = (paint * light.unsqueeze(1)).clamp(0, 1)
        return picture.permute(0, 3, 1, 2)

    def _ground(self, index: int, look: Look, cluttered: bool, opacity: Float32, rng: np.random.Generator) -> Float32:
        """What is behind the object, (H, W, 3)."""
        width, height = self.size
        if not cluttered:
            return np.ones((height, width, 3), dtype=np.float32)
        if look == "places":
            return marked_patches(width, height, rng)
        scene = SCENES[(index + int(rng.integers(len(SCENES)))) % len(SCENES)]
        behind = backdrop(width, height, scene=scene, rng=rng)
        shadow = ndimage.gaussian_filter(opacity, (0.03 * height, 0.05 * height, 0))
        shaded: Float32 = behind * (1 - 0.35 * ndimage.shift(shadow, (0.05 * height, 0, 0), order=1))
        return shaded


def _vertex_normals(surface: Surface) -> Tensor:
    """Unit normals (V, 3) of the vertices."""
    around = torch.zeros_like(surface.vertices)
    for corner in range(3):
        around.index_add_(0, surface.faces[:, corner], surface.face_normals)
    return normalize(around, dim=1)
