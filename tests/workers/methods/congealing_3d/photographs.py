"""Pictures of procedural shapes as a search for poses sees them, and what the poses are measured by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

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
OPTIONS = DescribeOptions(size=96, cells=24, dim=64)
GRID = GridOptions(azimuths=16, elevations=8, elevation_range_deg=(-30.0, 70.0), fovs_deg=(25.0, 50.0))


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
    masks = [mask.astype(np.float32) / 255 for mask in given] or None
    windows = object_windows(images, masks)
    crops = cropped(images, windows, masks, options.size)
    return Scene(images, masks, list(range(len(images))), crops, [[] for _ in images])


def observed(made: ShapeSet, bank: Bank, *, masked: bool = True, noise: float = 0.0) -> Observations:
    """What a backbone sees of the pictures."""
    backbone = PlaceOracle(noise=noise)
    return observe(scene_of(inputs(made, masked=masked)), backbone, bank.projection, OPTIONS, device=CPU, tick=no_tick)


def shuffled(observations: Observations) -> Observations:
    """The same with each picture's cells in disorder."""
    features = observations.features.flatten(2)
    generator = torch.Generator().manual_seed(0)
    parts = []
    for each in features:
        places = each.square().sum(dim=0).nonzero().squeeze(1)
        disorder = each.clone()
        disorder[:, places] = each[:, places[torch.randperm(len(places), generator=generator)]]
        parts.append(disorder)
    return replace(observations, features=torch.stack(parts).view_as(observations.features))


def errors_deg(found: Cameras, true: Cameras) -> Tensor:
    return angles_between_deg(found.rotation, true.rotation)
