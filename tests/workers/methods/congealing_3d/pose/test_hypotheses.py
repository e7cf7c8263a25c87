import torch

from workers.geometry.cameras import angles_between_deg
from workers.methods.congealing_3d.pose.grid import GridOptions, pose_grid
from workers.methods.congealing_3d.pose.hypotheses import strongest_modes

GRID = pose_grid(GridOptions(azimuths=11, elevations=5, fovs_deg=(30.0, 60.0)))
SCORES = torch.rand(3, 110, generator=torch.Generator().manual_seed(0))


def test_modes_are_the_best_that_are_turned_away_from_all_better_ones() -> None:
    found = strongest_modes(SCORES, GRID.cameras, count=4)
    rotation = GRID.cameras.rotation
    for image in range(3):
        kept: list[int] = []
        for candidate in SCORES[image].argsort(descending=True).tolist():
            if all(float(angles_between_deg(rotation[candidate], rotation[other])) > 30 for other in kept):
                kept.append(candidate)
        assert found.indices[image].tolist() == kept[:4]
    assert torch.equal(found.scores, SCORES.gather(1, found.indices))


def test_a_single_mode_is_the_best_candidate() -> None:
    found = strongest_modes(SCORES, GRID.cameras, count=1)
    assert torch.equal(found.indices[:, 0], SCORES.argmax(dim=1))


def test_where_modes_run_out_the_last_is_repeated() -> None:
    found = strongest_modes(SCORES, GRID.cameras, count=9, apart_deg=100)
    for row in found.indices.tolist():
        different = len(set(row))
        assert different < 9
        assert row[different - 1 :] == [row[different - 1]] * (10 - different)
