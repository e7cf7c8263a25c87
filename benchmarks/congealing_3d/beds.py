"""Poses of drawn shapes by features that tell the place: what the search reaches when features are good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.congealing_3d.costs import Cost
from benchmarks.congealing_3d.stage import (
    Candidates,
    Found,
    Pictures,
    best_candidates,
    candidates_of,
    errors_deg,
    found_poses,
    pictures_of,
)
from workers.evaluation.place_oracle import PlaceOracle, place_coloured
from workers.evaluation.procedural_shapes import ProceduralShape, animal, bench
from workers.evaluation.shape_set import drawn_set
from workers.methods.congealing_3d.pose.grid import GridOptions
from workers.rendering.surface import Surface

SEED = 1
NOISE = 1.0
OTHERS = 8
SAME, NOISY, CLUTTER, BOXES = "same", "noise", "clutter", "clutter, no masks"
RELATIVES, INSTANCES = "other instances, half as different", "other instances"
BEDS = (SAME, NOISY, CLUTTER, BOXES, RELATIVES, INSTANCES)
VARIATION = {RELATIVES: 0.5, INSTANCES: 1.0}
"""How much the animals of a set differ from the shape."""
GOOD_DEG = 10.0
HALF_TURN = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
"""About y, the axis of the bench."""


@dataclass(frozen=True)
class PoseRow:
    """Rotation errors of a set in degrees, and its stage's cost.

    Attributes:
        name: of the set.
        errors: of the poses found.
        grid_errors: of the best candidates, before anything is refined.
        ambiguous: share of images of which quite another pose is nearly as good.
        by_chance: share of images that fit no better than disorder.
        candidates_cost: of drawing and describing the candidates.
        cost: of the whole stage.
    """

    name: str
    errors: list[float]
    grid_errors: list[float]
    ambiguous: float
    by_chance: float
    candidates_cost: Cost
    cost: Cost

    @property
    def median_deg(self) -> float:
        """Of the errors."""
        return float(np.median(self.errors))

    @property
    def p95_deg(self) -> float:
        """95th percentile of the errors."""
        return float(np.percentile(self.errors, 95))

    @property
    def grid_median_deg(self) -> float:
        """Of the best candidates' errors."""
        return float(np.median(self.grid_errors))

    @property
    def grid_p95_deg(self) -> float:
        """95th percentile of the best candidates' errors."""
        return float(np.percentile(self.grid_errors, 95))

    def under(self, limit_deg: float) -> float:
        """Share of errors below a limit."""
        return float((np.array(self.errors) < limit_deg).mean())


@dataclass(frozen=True)
class BenchRow:
    """A bench that looks (nearly) the same after half a turn.

    Attributes:
        asymmetry: in [0, 1], how much its halves differ.
        ambiguous: share of images that are told to be ambiguous.
        flipped: share of poses nearer to the one half a turn away than to the true one.
        median_deg: error to the nearer of the two.
        cost: of the whole stage.
    """

    asymmetry: float
    ambiguous: float
    flipped: float
    median_deg: float
    cost: Cost


def bed_rows(names: Sequence[str], images: int, options: GridOptions) -> Iterator[PoseRow]:
    """Find poses of several sets; the candidates of the template count for each set, but are described once."""
    known: dict[float, Candidates] = {}
    for name in names:
        noise = NOISE if name == NOISY else 0.0
        if noise not in known:
            surface = Surface.of(place_coloured(animal(0)))
            known[noise] = candidates_of(surface, PlaceOracle(noise=noise), options)
        yield pose_row(name, bed_pictures(name, images), known[noise])


def bed_pictures(name: str, images: int) -> Pictures:
    """Draw the set of a name of `BEDS`."""
    shapes = [animal(0)]
    if name in VARIATION:
        shapes = [animal(number, VARIATION[name]) for number in range(1, OTHERS + 1)]
    drawn = drawn_set(shapes, images, SEED, look="places", cluttered=name in (CLUTTER, BOXES))
    return pictures_of(drawn, masked=name != BOXES)


def pose_row(name: str, pictures: Pictures, candidates: Candidates) -> PoseRow:
    """Find the poses of a set and compare them with the truth."""
    found = found_poses(pictures, candidates)
    choices = best_candidates(found.observations, candidates.bank)
    return PoseRow(
        name=name,
        errors=errors_deg(found.poses.best.rotation, pictures),
        grid_errors=errors_deg(candidates.bank.grid.cameras.rotation[choices], pictures),
        ambiguous=float(found.poses.ambiguous.float().mean()),
        by_chance=float(found.poses.by_chance.float().mean()),
        candidates_cost=candidates.cost,
        cost=candidates.cost + found.cost,
    )


def bench_row(asymmetry: float, images: int, options: GridOptions) -> BenchRow:
    """Find the poses of benches."""
    shape = bench(asymmetry)
    pictures, candidates = _benches(shape, images), candidates_of(_surface(shape), PlaceOracle(), options)
    found: Found = found_poses(pictures, candidates)
    true = np.array(errors_deg(found.poses.best.rotation, pictures))
    turned = np.array(errors_deg(found.poses.best.rotation @ HALF_TURN, pictures))
    return BenchRow(
        asymmetry=asymmetry,
        ambiguous=float(found.poses.ambiguous.float().mean()),
        flipped=float((turned < true).mean()),
        median_deg=float(np.median(np.minimum(true, turned))),
        cost=candidates.cost + found.cost,
    )


def _surface(shape: ProceduralShape) -> Surface:
    return Surface.of(place_coloured(shape))


def _benches(shape: ProceduralShape, images: int) -> Pictures:
    return pictures_of(drawn_set([shape], images, SEED, look="places"))
