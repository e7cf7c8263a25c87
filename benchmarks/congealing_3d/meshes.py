"""Mesh files, and pictures of the meshes themselves: another instance of a kind as the shape."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from alignment.mesh import Mesh
from alignment.mesh_files import load_mesh
from alignment.mesh_limits import MeshLimits
from benchmarks.congealing_3d.beds import PoseRow, pose_row
from benchmarks.congealing_3d.stage import Pictures, boxed, candidates_of, pictures_of
from workers.backbones.base import Backbone
from workers.evaluation.place_code import MIDDLE
from workers.evaluation.place_oracle import PlaceOracle, place_coloured
from workers.evaluation.procedural_shapes import ProceduralShape
from workers.evaluation.shape_set import drawn_set
from workers.geometry.cameras import Cameras, joined, looking_at_origin
from workers.methods.congealing_3d.canonical import in_canonical_frame
from workers.methods.congealing_3d.pose.grid import RADIUS, GridOptions
from workers.rendering.surface import Surface
from workers.rendering.views import render

FOLDER, TABLE = "meshes", "meshes.json"
SEED = 3
SIDE_PX = 256
ELEVATION_DEG, FOV_DEG, DISTANCE = (-10.0, 50.0), (20.0, 55.0), (1.0, 1.3)
_CUBE = 0.28
"""Half a side of the cube of all places, which the ball of those that have a colour holds."""
_LIMITS = MeshLimits(unpacked_bytes=1 << 28, picture_pixels=1 << 26, picture_side=8192, kept_faces=200_000)


@dataclass(frozen=True)
class NamedMesh:
    """A mesh in the canonical frame, with the axes of its file."""

    name: str
    mesh: Mesh

    @property
    def grey(self) -> NamedMesh:
        """Without its colours."""
        return NamedMesh(self.name, replace(self.mesh, colours=None, uv=None, texture=None))


def meshes_of(data: Path, category: str) -> list[NamedMesh]:
    """Read all meshes of a category of which is known how they lie; those are in the frame of the category's poses."""
    table = data / FOLDER / TABLE
    if not table.exists():
        return []
    listed = json.loads(table.read_text(encoding="utf-8"))
    return [
        NamedMesh(each["name"], read_mesh(data / FOLDER / each["file"]))
        for each in listed
        if each["category"] == category and "axes" in each
    ]


def read_mesh(path: Path) -> Mesh:
    """Read an OBJ file and its materials as an uploaded ZIP of both is read."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for each in (path, path.with_suffix(".mtl")):
            if each.exists():
                archive.write(each, each.name)
    return in_canonical_frame(load_mesh(packed.getvalue(), f"{path.stem}.zip", _LIMITS).mesh)


def mesh_rows(
    shape: NamedMesh, shown: Sequence[NamedMesh], backbone: Backbone, count: int, options: GridOptions
) -> Iterator[PoseRow]:
    """Find poses in pictures of other meshes, with exact masks: in their own colours, and all of them grey."""
    for colours in ("own colours", "grey"):
        first, others = shape, list(shown)
        if colours == "grey":
            first, others = shape.grey, [each.grey for each in shown]
        candidates = candidates_of(Surface.of(first.mesh), backbone, options)
        name = f"{', '.join(each.name for each in others)} by {first.name}, {colours}, {backbone.name}"
        yield pose_row(name, mesh_pictures(others, count), candidates)


def placed_rows(
    shape: NamedMesh, shown: Sequence[NamedMesh], count: int, options: GridOptions, *, seeds: Sequence[int] = (SEED,)
) -> Iterator[PoseRow]:
    """Find poses in pictures of other meshes by features that tell the place.

    First in the frame that the meshes share, then as a share of each mesh's own box.
    """
    for frame, placed in (("shared frame", _framed_places), ("own boxes", _boxed_places)):
        candidates = candidates_of(Surface.of(place_coloured(placed(shape))), PlaceOracle(), options)
        for seed in seeds:
            drawn = drawn_set([placed(each) for each in shown], count, seed, look="places")
            name = f"{', '.join(each.name for each in shown)} by {shape.name}, places in {frame}, cameras {seed}"
            yield pose_row(name, pictures_of(drawn), candidates)


def mesh_pictures(shown: Sequence[NamedMesh], count: int) -> Pictures:
    """Draw meshes by turns, from known cameras that look at them; the same arguments give the same pictures."""
    rng = np.random.default_rng(SEED)
    cameras = [_camera(rng) for _ in range(count)]
    window = torch.tensor([[0.0, 0.0, 1.0]])
    images, masks = [], []
    for index, camera in enumerate(cameras):
        views = render(Surface.of(shown[index % len(shown)].mesh), camera, window, SIDE_PX)
        rgb: npt.NDArray[np.uint8] = (views.rgb[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        images.append(boxed(f"{index}", rgb, None))
        masks.append(views.mask[0, 0].numpy())
    return Pictures(images, masks, joined(cameras).rotation)


def _camera(rng: np.random.Generator) -> Cameras:
    azimuth, elevation, fov = rng.uniform(-180, 180), rng.uniform(*ELEVATION_DEG), rng.uniform(*FOV_DEG)
    distance = RADIUS / np.tan(np.radians(fov) / 2) * rng.uniform(*DISTANCE)
    angles = (torch.tensor([value], dtype=torch.float32) for value in (azimuth, elevation, distance, fov))
    return looking_at_origin(*angles)


def _framed_places(shown: NamedMesh) -> ProceduralShape:
    """Call the same place what lies at the same point of the canonical frame."""
    return _with_places(shown, shown.mesh.vertices)


def _boxed_places(shown: NamedMesh) -> ProceduralShape:
    """Call what lies alike in the boxes of two meshes the same place."""
    half = np.abs(shown.mesh.vertices).max(axis=0)
    return _with_places(shown, shown.mesh.vertices / half * _CUBE)


def _with_places(shown: NamedMesh, where: npt.NDArray[np.floating]) -> ProceduralShape:
    places = where.astype(np.float32)
    return ProceduralShape(shown.grey.mesh, places, places, lambda seen: (seen + MIDDLE).astype(np.float32))
