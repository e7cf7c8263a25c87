import numpy as np
import pytest

from workers.methods.sd_correspondence.groups import grouped

PLACES = np.random.default_rng(0).uniform(0, 512, (60, 2))
CLOSE = np.random.default_rng(0).uniform(0, 60, (20, 2))


@pytest.mark.parametrize("places", [PLACES, CLOSE, PLACES[:1], PLACES[:0]])
@pytest.mark.parametrize("most", [1, 4, 16])
def test_all_points_are_in_one_group_each(places: np.ndarray, most: int) -> None:
    groups = grouped(places, most, 84.0)
    assert sorted(index for group in groups for index in group) == list(range(len(places)))
    assert all(group == sorted(group) for group in groups)
    assert all(1 <= len(group) <= most for group in groups)


@pytest.mark.parametrize("places", [PLACES, CLOSE])
def test_points_of_a_group_keep_their_distance(places: np.ndarray) -> None:
    for group in grouped(places, 16, 84.0):
        gaps = np.linalg.norm(places[group][:, None] - places[group], axis=-1)
        assert gaps[~np.eye(len(group), dtype=bool)].min(initial=np.inf) >= 84.0


def test_neighbours_are_apart_and_distant_points_together() -> None:
    corners = np.array([[0, 0], [1, 0], [500, 0], [0, 500], [500, 500.0]])
    assert grouped(corners, 16, 84.0) == [[0, 2, 3, 4], [1]]
    assert grouped(corners, 2, 84.0) == [[0, 4], [1, 3], [2]]
    assert grouped(CLOSE, 16, 84.0) == [[index] for index in range(len(CLOSE))]


def test_a_grid_takes_few_groups() -> None:
    axis = np.arange(32, 512, 64.0)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    assert len(grouped(grid, 16, 84.0)) <= 8
