"""Photographs of one object from many sides: poses of half of them by a shape that is carved from the other half.

The shape is known in the frame of the true poses, so errors count as they are, without alignment. A set's folder holds
`annotations.json`, as for photographs of other sets, with `pose` and `K`, (3, 3) in pixels (integers are the middles of
pixels), and perhaps `mask`, for every image.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu
from torch.nn.functional import adaptive_avg_pool2d

from alignment.mesh import Mesh
from alignment.pose_scores import pose_report
from api_schemas.methods.congealing_3d import UpAxis
from benchmarks.congealing_3d.photographs import template_scores
from benchmarks.congealing_3d.stage import Candidates, Pictures, boxed, candidates_of, errors_deg, found_poses
from workers.backbones.base import Backbone
from workers.backbones.registry import BackboneProvider
from workers.evaluation.visual_hull import CarvingOptions, brought_to_canonical_frame, carved
from workers.geometry.cameras import Cameras, angles_between_deg
from workers.methods.congealing_3d.pose.grid import GridOptions
from workers.methods.congealing_3d.pose.scoring import fit_scores
from workers.rendering.rasteriser import rasterise
from workers.rendering.surface import Surface

Rgb = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Masks = Literal["given", "thresholded"]
NEAR_DEG = (15.0, 30.0)
_BRIGHT = 0.75
_CLOSED_PX = 3


@dataclass(frozen=True)
class Source:
    """A set of photographs of one object.

    Attributes:
        name: of its folder.
        up_axis: of the frame of its poses.
        masks: `given`, or `thresholded`, for a bright object before a dark background: the largest part that is
            brighter than three quarters of Otsu's threshold, with gaps of a few pixels closed.
        dissent: share of the masks that may leave out what belongs to the object.
    """

    name: str
    up_axis: UpAxis
    masks: Masks
    dissent: float


SOURCES = (Source("mv_lego", "z", "given", 0.0), Source("mv_temple", "y", "thresholded", 0.1))


@dataclass(frozen=True)
class PosedViews:
    """N upright photographs of one object, the principal point in the middle of each."""

    pictures: list[Rgb]
    masks: list[Mask]
    cameras: Cameras

    def __len__(self) -> int:
        """Count the photographs."""
        return len(self.pictures)

    def __getitem__(self, which: slice) -> PosedViews:
        """Some of them."""
        return PosedViews(self.pictures[which], self.masks[which], self.cameras[which])

    def as_pictures(self, *, masked: bool = True) -> Pictures:
        """The same for the search, with masks, or with the boxes around them alone."""
        images = [
            boxed(f"{index}", rgb, _box(mask))
            for index, (rgb, mask) in enumerate(zip(self.pictures, self.masks, strict=True))
        ]
        masks = [mask.astype(np.float32) for mask in self.masks] if masked else None
        return Pictures(images, masks, self.cameras.rotation)


@dataclass(frozen=True)
class Errors:
    """Median rotation error in degrees, and shares of the images within 15 and 30 degrees."""

    median_deg: float
    within_15: float
    within_30: float

    @classmethod
    def of(cls, errors: Sequence[float]) -> Errors:
        """Of the errors of all images."""
        near = [float((np.array(errors) <= limit).mean()) for limit in NEAR_DEG]
        return cls(float(np.median(errors)), *near)


@dataclass(frozen=True)
class MultiviewRow:
    """How well poses are found by the carved shape.

    Attributes:
        name: of the set.
        features: the backbone.
        masks: how they were come by.
        carved_from: photographs that the shape was carved from.
        images: the others, whose poses are searched.
        hull_iou: mean agreement of the shape's silhouettes with the masks of those.
        candidates: poses tried.
        chance: share of the candidates that lie so near to the truth, and the median of their errors.
        nearest: candidate with the highest mean cosine of the backbone's own features, without masks.
        candidate: best candidate by the method's features and masks.
        found: the poses found.
        aligned: those, once they are turned together as fits the truth best.
        ambiguous: share of images of which quite another pose is nearly as good.
        by_chance: share of images that fit no better than disorder.
        cpu_s: of the search, the candidates included; without the carving.
    """

    name: str
    features: str
    masks: Masks
    carved_from: int
    images: int
    hull_iou: float
    candidates: int
    chance: Errors
    nearest: Errors
    candidate: Errors
    found: Errors
    aligned: Errors
    ambiguous: float
    by_chance: float
    cpu_s: float


def rows_of(folder: Path, backbones: Sequence[str], options: GridOptions) -> Iterator[MultiviewRow]:
    """Measure those of the sets that lie in `folder`."""
    provider = BackboneProvider()
    for source in SOURCES:
        if (folder / source.name / "annotations.json").exists():
            yield from multiview_rows(folder / source.name, source, [provider.get(name) for name in backbones], options)


def multiview_rows(
    folder: Path, source: Source, backbones: Sequence[Backbone], options: GridOptions
) -> Iterator[MultiviewRow]:
    """Carve a shape from every other photograph, and find the poses of the others by each backbone."""
    shape, used, searched = carved_and_searched(read_views(folder, source), source)
    for backbone in backbones:
        yield _row(source, shape, len(used), searched, candidates_of(Surface.of(shape), backbone, options))


def carved_and_searched(views: PosedViews, source: Source) -> tuple[Mesh, PosedViews, PosedViews]:
    """The shape, the photographs that it was carved from, and the others, all in the canonical frame."""
    used = views[::2]
    options = CarvingOptions(dissent=source.dissent)
    mesh = carved(used.masks, used.cameras, pictures=used.pictures, options=options)
    shape, cameras = brought_to_canonical_frame(mesh, views.cameras, up_axis=source.up_axis)
    moved = PosedViews(views.pictures, views.masks, cameras)
    return shape, moved[::2], moved[1::2]


def _row(source: Source, shape: Mesh, carved_from: int, searched: PosedViews, candidates: Candidates) -> MultiviewRow:
    pictures, grid = searched.as_pictures(), candidates.bank.grid.cameras
    found = found_poses(pictures, candidates)
    best, seen = found.poses.best, found.observations
    assert seen.masks is not None
    scores = fit_scores(seen.features, adaptive_avg_pool2d(seen.masks, seen.features.shape[-1]), candidates.bank)
    raw = template_scores(searched.as_pictures(masked=False), candidates)
    report = pose_report(best.as_results(), searched.cameras.as_results())
    away = angles_between_deg(grid.rotation[None], pictures.rotation[:, None])
    return MultiviewRow(
        name=source.name,
        features=candidates.reader.backbone.name,
        masks=source.masks,
        carved_from=carved_from,
        images=len(pictures),
        hull_iou=float(np.mean(silhouette_ious(shape, searched))),
        candidates=len(grid),
        chance=Errors.of(away.flatten().tolist()),
        nearest=Errors.of(errors_deg(grid.rotation[raw.argmax(dim=1)], pictures)),
        candidate=Errors.of(errors_deg(grid.rotation[scores.argmax(dim=1)], pictures)),
        found=Errors.of(errors_deg(best.rotation, pictures)),
        aligned=Errors.of([error for error in report.rotation_deg if error is not None]),
        ambiguous=float(found.poses.ambiguous.float().mean()),
        by_chance=float(found.poses.by_chance.float().mean()),
        cpu_s=(candidates.cost + found.cost).cpu_s,
    )


def _box(mask: Mask) -> tuple[float, float, float, float]:
    across, down = np.nonzero(mask)[::-1]
    return float(across.min()), float(down.min()), float(across.max() + 1), float(down.max() + 1)


def silhouette_ious(shape: Mesh, views: PosedViews) -> list[float]:
    """How well a shape's silhouettes agree with the masks."""
    surface, ious = Surface.of(shape), []
    for index, mask in enumerate(views.masks):
        height, width = mask.shape
        side = max(height, width)
        window = torch.tensor([[(side - width) / height, (side - height) / height, side / height]])
        shown = rasterise(surface.vertices, surface.faces, views.cameras[index], window, side).mask[0].numpy()
        shown = shown[:height, :width]
        ious.append(float((shown & mask).sum() / (shown | mask).sum()))
    return ious


def read_views(folder: Path, source: Source) -> PosedViews:
    """Read photographs, upright and with the principal point in the middle; what lies beyond their border is white."""
    entries = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))["images"]
    matrices = torch.tensor([entry["pose"] for entry in entries])
    up = matrices[:, :3, "xyz".index(source.up_axis)].mean(dim=0)
    turns = round(float(torch.rad2deg(torch.atan2(up[0], -up[1]))) / 90) % 4
    turn = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]]).matrix_power(turns)
    pictures, masks, focal = [], [], []
    for entry in entries:
        with Image.open(folder / entry["file"]) as picture:
            rgb = _centred(picture.convert("RGB"), entry["K"])
            mask = _centred(_mask(folder, entry, source, picture), entry["K"]).point(lambda value: 255 * (value > 127))
        pictures.append(np.rot90(np.asarray(rgb), turns).copy())
        masks.append(np.rot90(np.asarray(mask) > 0, turns).copy())
        focal.append(2 * entry["K"][1][1] / len(masks[-1]))
    cameras = Cameras(turn @ matrices[:, :3, :3], matrices[:, :3, 3] @ turn.T, torch.tensor(focal))
    return PosedViews(pictures, masks, cameras)


def _centred(picture: Image.Image, intrinsics: Sequence[Sequence[float]]) -> Image.Image:
    """Enlarge a picture so that its principal point is in the middle, and make its pixels square."""
    (focal_x, _, x), (_, focal_y, y) = intrinsics[:2]
    x, y, stretch = x + 0.5, y + 0.5, focal_x / focal_y
    width = 2 * round(max(x, picture.width - x) / stretch)
    height = 2 * round(max(y, picture.height - y))
    matrix = (stretch, 0, x - stretch * width / 2, 0, 1, y - height / 2)
    beyond = "white" if picture.mode == "RGB" else 0
    return picture.transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=beyond
    )


def _mask(folder: Path, entry: dict[str, Any], source: Source, picture: Image.Image) -> Image.Image:
    if source.masks == "given":
        with Image.open(folder / entry["mask"]) as mask:
            return mask.convert("L")
    brightness = ndimage.gaussian_filter(np.asarray(picture.convert("RGB"), dtype=np.float32).max(axis=-1), 1)
    bright = brightness > _BRIGHT * threshold_otsu(brightness)  # type: ignore[no-untyped-call]
    bright = np.pad(bright, _CLOSED_PX)
    labels, _ = ndimage.label(ndimage.binary_closing(bright, iterations=_CLOSED_PX))
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    largest = (labels == counts.argmax())[_CLOSED_PX:-_CLOSED_PX, _CLOSED_PX:-_CLOSED_PX]
    return Image.fromarray(np.where(largest, np.uint8(255), np.uint8(0)))
