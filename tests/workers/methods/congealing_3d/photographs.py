"""Pictures of procedural shapes as a search for poses sees them, and what the poses are measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.backbones.base import no_tick
from workers.evaluation.place_oracle import PlaceOracle, place_coloured
from workers.evaluation.procedural_shapes import ProceduralShape
from workers.evaluation.shape_set import ShapeSet
from workers.geometry.cameras import Cameras, angles_between_deg
from workers.methods.base import InputImage
from workers.methods.congealing_3d.observing import observe
from workers.methods.congealing_3d.pose.bank import Bank, DescribeOptions, SurfaceReader, build_bank
from workers.methods.congealing_3d.pose.crops import cropped, object_windows
from workers.methods.congealing_3d.pose.grid import GridOptions, pose_grid
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.scene import Scene
from workers.rendering.surface import Surface

CPU = torch.device("cpu")
OPTIONS = DescribeOptions(size=64, cells=16, dim=64)
GRID = GridOptions(azimuths=16, elevations=8, elevation_range_deg=(-30.0, 70.0), fovs_deg=(25.0, 50.0))
FEW = GridOptions(azimuths=12, elevations=6, elevation_range_deg=(-30.0, 70.0), fovs_deg=(37.5,))


def reader_of(shape: ProceduralShape, options: DescribeOptions = OPTIONS) -> SurfaceReader:
    return SurfaceReader(Surface.of(place_coloured(shape)), PlaceOracle(), options)


def bank_of(reader: SurfaceReader, grid: GridOptions = GRID) -> Bank:
    return build_bank(reader, pose_grid(grid))


def inputs(made: ShapeSet, *, masked: bool = True) -> list[InputImage]:
    """Uploads, with the true masks or without any."""
    return [
        InputImage(f"{index}.png", picture, (mask * 255).astype(np.uint8) if masked else None)
        for index, (picture, mask) in enumerate(zip(made.pictures, made.masks, strict=True))
    ]


def scene_of(images: Sequence[InputImage], options: DescribeOptions = OPTIONS) -> Scene:
    given = [image.mask for image in images if image.mask is not None]
    masks = [(mask / 255).astype(np.float32) for mask in given] or None
    windows = object_windows(images, masks)
    crops = cropped(images, windows, masks, options.size)
    return Scene(images, masks, list(range(len(images))), crops, [[] for _ in images])


def observed(
    made: ShapeSet, bank: Bank, *, masked: bool = True, noise: float = 0.0, options: DescribeOptions = OPTIONS
) -> Observations:
    """What a backbone sees of the pictures."""
    scene, backbone = scene_of(inputs(made, masked=masked), options), PlaceOracle(noise=noise)
    return observe(scene, backbone, bank.projection, options, device=CPU, tick=no_tick)


def shuffled(observations: Observations, *, seed: int = 0) -> Observations:
    """The same with each picture's cells in disorder."""
    features = observations.features.flatten(2)
    generator = torch.Generator().manual_seed(seed)
    parts = []
    for each in features:
        places = each.square().sum(dim=0).nonzero().squeeze(1)
        disorder = each.clone()
        disorder[:, places] = each[:, places[torch.randperm(len(places), generator=generator)]]
        parts.append(disorder)
    return replace(observations, features=torch.stack(parts).view_as(observations.features))


def cell_masks(observations: Observations) -> Tensor | None:
    """Masks on the cells of the features."""
    cells = observations.features.shape[-1]
    return None if observations.masks is None else adaptive_avg_pool2d(observations.masks, cells)


def errors_deg(found: Cameras, true: Cameras) -> Tensor:
    return angles_between_deg(found.rotation, true.rotation)
