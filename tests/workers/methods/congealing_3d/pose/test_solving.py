from dataclasses import replace

import torch

from tests.workers.methods.congealing_3d.photographs import cell_masks, errors_deg
from workers.evaluation.shape_set import ShapeSet
from workers.methods.congealing_3d.pose.bank import Bank, SurfaceReader
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.pose.scoring import fit_scores
from workers.methods.congealing_3d.pose.solving import solved_poses


def test_matches_with_the_best_candidates_give_poses(
    reader: SurfaceReader, bank: Bank, made: ShapeSet, seen: Observations
) -> None:
    best = fit_scores(seen.features, cell_masks(seen), bank).topk(2, dim=1).indices
    cameras, images = solved_poses(seen, bank, reader.surface, best, seed=0)
    assert 10 <= len(cameras) == len(images) <= 12
    assert set(images.tolist()) == set(range(6))
    errors = errors_deg(cameras, made.cameras[images])
    assert errors.median() < 5
    again, _ = solved_poses(seen, bank, reader.surface, best, seed=0)
    assert torch.equal(cameras.rotation, again.rotation)


def test_without_matches_there_are_no_poses(reader: SurfaceReader, bank: Bank, seen: Observations) -> None:
    blind = replace(seen, features=torch.zeros_like(seen.features))
    cameras, images = solved_poses(blind, bank, reader.surface, torch.zeros(6, 1, dtype=torch.long), seed=0)
    assert len(cameras) == len(images) == 0
