"""Photographs with known poses, by meshes of the same kind of thing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from alignment.camera import OPENGL_TO_OPENCV, Camera
from alignment.pose_scores import pose_report
from benchmarks.congealing_3d.costs import Cost
from benchmarks.congealing_3d.meshes import NamedMesh
from benchmarks.congealing_3d.stage import (
    Candidates,
    Pictures,
    boxed,
    candidates_of,
    errors_deg,
    found_poses,
    scene_of,
)
from workers.backbones.base import Backbone
from workers.geometry.cameras import angles_between_deg
from workers.matching.projection import Projection
from workers.methods.congealing_3d.pose.bank import Bank
from workers.methods.congealing_3d.pose.grid import GridOptions
from workers.methods.congealing_3d.pose.scoring import fit_scores
from workers.methods.features import describe
from workers.rendering.surface import Surface

NEAR_DEG = 30.0
_CHUNK = 64
_ANY_FOV_DEG = 40.0
"""Rotations alone are compared."""


@dataclass(frozen=True)
class PhotographRow:
    """Shares of rotations within 30 degrees, and median errors in degrees, in the frame of the mesh.

    Attributes:
        photographs: name of the set.
        images: how many.
        shape: name of the mesh.
        features: the backbone.
        elevations: range of the candidates.
        chance: mean share of the candidates that lie so near.
        nearest: of the candidate with the highest mean cosine of the backbone's own features.
        nearest_deg: its median error.
        candidate: of the best candidate by the method's features.
        found: of the poses found.
        found_deg: their median error.
        aligned: of the poses found once they are turned together as fits the truth best.
        aligned_deg: their median error.
        ambiguous: share of images of which quite another pose is nearly as good.
        by_chance: share of images that fit no better than disorder.
        cost: of the whole stage.
    """

    photographs: str
    images: int
    shape: str
    features: str
    elevations: tuple[float, float]
    chance: float
    nearest: float
    nearest_deg: float
    candidate: float
    found: float
    found_deg: float
    aligned: float
    aligned_deg: float
    ambiguous: float
    by_chance: float
    cost: Cost


@dataclass(frozen=True)
class PhotographSet:
    """Photographs and their true cameras."""

    name: str
    category: str
    pictures: Pictures
    cameras: list[Camera]


def read_set(folder: Path, most: int | None) -> PhotographSet:
    """Read photographs of a set, the first `most` of them; coordinates of boxes are borders of pixels."""
    content = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    entries = content["images"][:most]
    images = []
    for entry in entries:
        with Image.open(folder / entry["file"]) as picture:
            rgb = np.asarray(picture.convert("RGB"))
        images.append(boxed(entry["file"], rgb, tuple(entry["bbox"]) if entry["bbox"] else None))
    matrices = np.array([entry["pose"] for entry in entries])
    cameras = [Camera(np.linalg.inv(matrix) @ OPENGL_TO_OPENCV, _ANY_FOV_DEG) for matrix in matrices]
    rotation = torch.from_numpy(matrices[:, :3, :3]).float()
    return PhotographSet(folder.name, content["category"], Pictures(images, None, rotation), cameras)


def photograph_rows(
    sets: list[PhotographSet], shape: NamedMesh, backbone: Backbone, options: GridOptions
) -> Iterator[PhotographRow]:
    """Find the poses of several sets by one mesh, whose candidates are described once; they count for each set."""
    candidates = candidates_of(Surface.of(shape.mesh), backbone, options)
    raw = [template_scores(photographs.pictures, candidates) for photographs in sets]
    for photographs, scores in zip(sets, raw, strict=True):
        yield _row(photographs, shape.name, candidates, scores, options)


def _row(
    photographs: PhotographSet, shape: str, candidates: Candidates, raw: Tensor, options: GridOptions
) -> PhotographRow:
    pictures, rotations = photographs.pictures, candidates.bank.grid.cameras.rotation
    found = found_poses(pictures, candidates)
    best = found.poses.best
    report = pose_report(best.as_results(), photographs.cameras)
    nearest = errors_deg(rotations[raw.argmax(dim=1)], pictures)
    scores = fit_scores(found.observations.features, None, candidates.bank)
    away = angles_between_deg(rotations[None], pictures.rotation[:, None])
    errors = errors_deg(best.rotation, pictures)
    return PhotographRow(
        photographs=photographs.name,
        images=len(pictures),
        shape=shape,
        features=candidates.reader.backbone.name,
        elevations=options.elevation_range_deg,
        chance=float((away <= NEAR_DEG).float().mean()),
        nearest=_near(nearest),
        nearest_deg=float(np.median(nearest)),
        candidate=_near(errors_deg(rotations[scores.argmax(dim=1)], pictures)),
        found=_near(errors),
        found_deg=float(np.median(errors)),
        aligned=report.accuracy[NEAR_DEG],
        aligned_deg=report.median_rotation_deg,
        ambiguous=float(found.poses.ambiguous.float().mean()),
        by_chance=float(found.poses.by_chance.float().mean()),
        cost=candidates.cost + found.cost,
    )


def template_scores(pictures: Pictures, candidates: Candidates) -> Tensor:
    """Mean cosines (N, K) of the backbone's features as they are, over what the candidates show."""
    reader, grid, windows = candidates.reader, candidates.bank.grid, candidates.bank.windows
    channels = len(candidates.bank.projection.mean)
    plain = Projection(torch.zeros(channels), torch.eye(channels), 1.0)
    crops = scene_of(pictures, reader.options.size).crops.pictures
    seen = plain(describe(reader.backbone, crops, cells=reader.options.cells))
    parts = []
    for start in range(0, len(windows), _CHUNK):
        rows = slice(start, start + _CHUNK)
        features, masks = reader.seen(grid.cameras[rows], windows[rows], plain)
        parts.append(fit_scores(seen, None, Bank(grid, windows[rows], features, masks, plain)))
    return torch.cat(parts, dim=1)


def _near(errors: list[float]) -> float:
    return float((np.array(errors) <= NEAR_DEG).mean())
