"""The stage that is measured: candidates are drawn and described, images too, and poses are found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from benchmarks.congealing_3d.costs import Cost, timed
from workers.backbones.base import Backbone, no_tick
from workers.evaluation.shape_set import ShapeSet
from workers.geometry.cameras import angles_between_deg
from workers.methods.base import Annotation, InputImage
from workers.methods.congealing_3d.observing import observe
from workers.methods.congealing_3d.pose.bank import Bank, DescribeOptions, SurfaceReader, build_bank
from workers.methods.congealing_3d.pose.crops import cropped, object_windows
from workers.methods.congealing_3d.pose.grid import GridOptions, pose_grid
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.pose.scoring import fit_scores
from workers.methods.congealing_3d.pose.search import FoundPoses, SearchOptions, find_poses
from workers.methods.congealing_3d.scene import Scene
from workers.rendering.surface import Surface

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Pictures:
    """N pictures and their true poses.

    Attributes:
        images: with the object's box, where it is known.
        masks: (H, W) each, in [0, 1]; None where nobody knows them.
        rotation: (N, 3, 3) from the shape's frame to the camera's axes (OpenCV).
    """

    images: list[InputImage]
    masks: list[npt.NDArray[np.float32]] | None
    rotation: Tensor

    def __len__(self) -> int:
        """Count the pictures."""
        return len(self.images)


@dataclass(frozen=True)
class Candidates:
    """A shape's candidates, and what it cost to describe them."""

    reader: SurfaceReader
    bank: Bank
    cost: Cost


@dataclass(frozen=True)
class Found:
    """Poses of a set, and what it cost to describe the images and to find them; the candidates' share is not in it."""

    poses: FoundPoses
    observations: Observations
    cost: Cost


def pictures_of(drawn: ShapeSet, *, masked: bool = True) -> Pictures:
    """A drawn set with its masks, or with the boxes around them alone."""
    images = [
        boxed(f"{index}", rgb, _box(mask))
        for index, (rgb, mask) in enumerate(zip(drawn.pictures, drawn.masks, strict=True))
    ]
    masks = [mask.astype(np.float32) for mask in drawn.masks] if masked else None
    return Pictures(images, masks, drawn.cameras.rotation)


def boxed(name: str, rgb: npt.NDArray[np.uint8], box: tuple[float, float, float, float] | None) -> InputImage:
    """An image of which nothing but a box is known."""
    known = Annotation(category="object", schema=None, keypoints=np.zeros((0, 3)), box=box)
    return InputImage(name=name, rgb=rgb, annotation=known)


def candidates_of(surface: Surface, backbone: Backbone, options: GridOptions) -> Candidates:
    """Draw and describe all candidates of a shape."""
    reader = SurfaceReader(surface, backbone, describe_options(backbone))
    bank, cost = timed(lambda: build_bank(reader, pose_grid(options)))
    return Candidates(reader, bank, cost)


def describe_options(backbone: Backbone) -> DescribeOptions:
    """As jobs do by default."""
    cells = DescribeOptions().cells
    return DescribeOptions(size=cells * backbone.stride)


def found_poses(pictures: Pictures, candidates: Candidates) -> Found:
    """Describe the pictures and find their poses."""

    seen, describing = timed(lambda: observed(pictures, candidates.reader, candidates.bank))
    poses, finding = timed(lambda: find_poses(seen, candidates.bank, candidates.reader, SearchOptions(), seed=0))
    return Found(poses, seen, describing + finding)


def observed(pictures: Pictures, reader: SurfaceReader, bank: Bank) -> Observations:
    """Describe the pictures' objects."""
    scene = scene_of(pictures, reader.options.size)
    return observe(scene, reader.backbone, bank.projection, reader.options, device=CPU, tick=no_tick)


def best_candidates(seen: Observations, bank: Bank) -> Tensor:
    """The candidate (N,) that fits each picture best."""
    masks = None if seen.masks is None else adaptive_avg_pool2d(seen.masks, seen.features.shape[-1])
    return fit_scores(seen.features, masks, bank).argmax(dim=1)


def scene_of(pictures: Pictures, size: int) -> Scene:
    """Cut the objects out."""
    windows = object_windows(pictures.images, pictures.masks)
    crops = cropped(pictures.images, windows, pictures.masks, size)
    return Scene(pictures.images, pictures.masks, list(range(len(pictures))), crops, [[] for _ in pictures.images])


def errors_deg(rotation: Tensor, pictures: Pictures) -> list[float]:
    """Angles between rotations (N, 3, 3) and the true ones."""
    found: list[float] = angles_between_deg(rotation, pictures.rotation).tolist()
    return found


def _box(mask: npt.NDArray[np.bool_]) -> tuple[float, float, float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.min()), float(rows.min()), float(columns.max() + 1), float(rows.max() + 1)
