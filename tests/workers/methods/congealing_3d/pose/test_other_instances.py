"""Poses of one kind of animal by another of its kind, at the size that jobs have."""

from dataclasses import replace

import numpy as np

from tests.workers.methods.congealing_3d.photographs import bank_of, errors_deg, observed, reader_of
from workers.evaluation.procedural_shapes import ProceduralShape, animal
from workers.evaluation.shape_set import drawn_set
from workers.methods.congealing_3d.pose.bank import DescribeOptions
from workers.methods.congealing_3d.pose.grid import GridOptions
from workers.methods.congealing_3d.pose.search import SearchOptions, find_poses

OPTIONS = DescribeOptions()
GRID = GridOptions(azimuths=16, elevations=6, elevation_range_deg=(-30.0, 70.0))


def in_shared_frame(shape: ProceduralShape) -> ProceduralShape:
    """What lies at the same point of the canonical frame is the same place."""
    return replace(shape, places=shape.mesh.vertices, likeness=shape.mesh.vertices)


def test_eight_animals_get_their_poses_by_a_ninth() -> None:
    others = [in_shared_frame(animal(number, 0.5)) for number in range(1, 9)]
    made = drawn_set(others, 24, 1, look="places")
    reader = reader_of(in_shared_frame(animal(0)), OPTIONS)
    bank = bank_of(reader, GRID)
    seen = observed(made, bank, options=OPTIONS)
    found = find_poses(seen, bank, reader, SearchOptions(hypotheses=3), seed=0)
    errors = errors_deg(found.best, made.cameras).numpy()
    assert np.median(errors) < 3
    assert np.percentile(errors, 95) < 10
