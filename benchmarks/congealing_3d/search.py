"""The search over all candidates, for all images at once and for one pair after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from benchmarks.congealing_3d.costs import Cost, in_own_process, peak_gb, timed
from benchmarks.congealing_3d.stage import (
    Pictures,
    best_candidates,
    candidates_of,
    describe_options,
    observed,
    pictures_of,
    scene_of,
)
from workers.backbones.base import Backbone
from workers.backbones.registry import BackboneProvider
from workers.evaluation.place_oracle import PlaceOracle, place_coloured
from workers.evaluation.procedural_shapes import animal
from workers.evaluation.shape_set import drawn_set
from workers.matching.projection import Projection
from workers.methods.congealing_3d.pose.bank import BACKGROUND, SurfaceReader
from workers.methods.congealing_3d.pose.grid import GridOptions, pose_grid, tight_windows
from workers.methods.congealing_3d.pose.scoring import pair_scores
from workers.methods.features import describe
from workers.rendering.surface import Surface
from workers.rendering.views import look

SEED = 1
Features = Literal["oracle", "embedded"]


@dataclass(frozen=True)
class SearchRun:
    """One form of the search.

    Attributes:
        choices: the best candidate of each image.
        cost: of the search alone.
        peak_gb: of its process.
    """

    choices: tuple[int, ...]
    cost: Cost
    peak_gb: float


@dataclass(frozen=True)
class Compared:
    """Both forms of the search over the same candidates.

    Attributes:
        features: that compare.
        candidates: poses tried for each image.
        batched: all images.
        alone: the first of them, one pair after the other.
    """

    features: Features
    candidates: int
    batched: SearchRun
    alone: SearchRun

    @property
    def factor(self) -> float:
        """By how much the seconds of `alone` are multiplied to stand for all images."""
        return len(self.batched.choices) / len(self.alone.choices)

    @property
    def speedup(self) -> float:
        """How many times fewer CPU seconds it takes for all images at once."""
        return self.alone.cost.cpu_s * self.factor / self.batched.cost.cpu_s

    @property
    def is_same(self) -> bool:
        """Whether both choose the same candidates for the images that both saw."""
        return self.alone.choices == self.batched.choices[: len(self.alone.choices)]


def compare(features: Features, options: GridOptions, *, images: int, alone: int, apart: bool) -> Compared:
    """Run both forms.

    Args:
        features: that compare.
        options: of the candidates.
        images: searched at once.
        alone: of them are searched one pair after the other.
        apart: measure each form in a process of its own; else peaks are those of all that ran before too.
    """
    if apart:
        batched = in_own_process(batched_search, features, options, images)
        single = in_own_process(search_one_by_one, features, options, alone)
    else:
        batched, single = batched_search(features, options, images), search_one_by_one(features, options, alone)
    return Compared(features, len(pose_grid(options).cameras), batched, single)


def batched_search(features: Features, options: GridOptions, images: int) -> SearchRun:
    """Describe all candidates once, and score them for all images by matrix products."""
    torch.set_num_threads(1)
    surface, backbone, pictures = _given(features, images)

    def search() -> Tensor:
        candidates = candidates_of(surface, backbone, options)
        return best_candidates(observed(pictures, candidates.reader, candidates.bank), candidates.bank)

    choices, cost = timed(search)
    return SearchRun(tuple(choices.tolist()), cost, peak_gb())


def search_one_by_one(features: Features, options: GridOptions, images: int) -> SearchRun:
    """For every image and every candidate: draw the view, describe it, compare.

    The features' projection is given to it: the seconds for fitting it count for the batched form alone.
    """
    torch.set_num_threads(1)
    surface, backbone, pictures = _given(features, images)
    grid = pose_grid(options)
    projection = SurfaceReader(surface, backbone, describe_options(backbone)).fitted(
        grid, tight_windows(surface, grid.cameras)
    )
    choices, cost = timed(lambda: [_best(surface, backbone, options, projection, each) for each in _each(pictures)])
    return SearchRun(tuple(choices), cost, peak_gb())


def _best(surface: Surface, backbone: Backbone, options: GridOptions, projection: Projection, picture: Pictures) -> int:
    """The best candidate of a single picture."""
    described = describe_options(backbone)
    crops = scene_of(picture, described.size).crops
    assert crops.masks is not None
    mask = adaptive_avg_pool2d(crops.masks, described.cells)
    features = projection(describe(backbone, crops.pictures, cells=described.cells)) * (mask > 0)
    cameras = pose_grid(options).cameras
    scores = []
    for number in range(len(cameras)):
        camera = cameras[number]
        rgb, drawn = look(surface, camera, tight_windows(surface, camera), described.size, background=BACKGROUND)
        shown = adaptive_avg_pool2d(drawn, described.cells)
        theirs = projection(describe(backbone, rgb, cells=described.cells)) * (shown > 0)
        scores.append(float(pair_scores(features, mask, theirs, shown)))
    return scores.index(max(scores))


def _given(features: Features, images: int) -> tuple[Surface, Backbone, Pictures]:
    template = animal(0)
    if features == "oracle":
        drawn = drawn_set([template], images, SEED, look="places")
        return Surface.of(place_coloured(template)), PlaceOracle(), pictures_of(drawn)
    drawn = drawn_set([template], images, SEED)
    return Surface.of(template.mesh), BackboneProvider().get(features), pictures_of(drawn)


def _each(pictures: Pictures) -> list[Pictures]:
    assert pictures.masks is not None
    return [
        Pictures([image], [mask], rotation.unsqueeze(0))
        for image, mask, rotation in zip(pictures.images, pictures.masks, pictures.rotation, strict=True)
    ]
