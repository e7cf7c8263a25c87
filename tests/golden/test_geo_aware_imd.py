"""The instance matching distance as the official code of Telling Left from Right (2311.17034) gives it for formulas."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.evaluation.official_imd import RESOLUTION, official_imd, official_mutual_distance, resampled_masks
from workers.methods.geo_aware.imd import imd, mutual_distance, resampled

PATCHES = 60
CANVAS = 240
ABSOLUTE = 1e-7
"""Of numbers given to seven places."""
ROUNDED = 2e-6
"""Of the golden value over mutual neighbours, whose distances came from rounded products."""


def waves(slope_x: float, slope_y: float, *, mirrored: bool, phase: float) -> Tensor:
    """(1, 4, 60, 60) unit vectors."""
    y, x = torch.meshgrid(torch.arange(PATCHES).double(), torch.arange(PATCHES).double(), indexing="ij")
    along = PATCHES - 1 - x if mirrored else x
    channels = [torch.cos(slope_x * k * along + slope_y * y + phase) for k in range(1, 5)]
    return normalize(torch.stack(channels), dim=0).unsqueeze(0)


def disc(x: int, y: int, radius: int) -> Tensor:
    row, column = torch.meshgrid(torch.arange(CANVAS), torch.arange(CANVAS), indexing="ij")
    return (column - x).square() + (row - y).square() < radius**2


SOURCE = waves(0.1, 0.05, mirrored=False, phase=0.0)
FIRST_TARGET = waves(0.1, 0.05, mirrored=True, phase=0.3)
SECOND_TARGET = waves(0.09, 0.06, mirrored=True, phase=0.3)
DISCS = torch.stack([disc(100, 120, 80), disc(130, 110, 90)])


def distances(target: Tensor, *, target_masked: bool) -> list[float]:
    """Of the source and of its mirror image, which moves features along with it, by the fast form."""
    source_mask, target_mask = DISCS[:1], DISCS[1:]
    end = resampled(target, RESOLUTION)[0]
    inside = resampled_masks(target_mask, RESOLUTION)[0] if target_masked else None
    found = []
    for features, mask in ((SOURCE, source_mask), (SOURCE.flip(3), source_mask.flip(2))):
        start, cells = resampled(features, RESOLUTION)[0], resampled_masks(mask, RESOLUTION)[0]
        found.append(imd(start, end, cells, inside))
        assert found[-1] == pytest.approx(official_imd(start, end, cells, inside), abs=1e-12)
    return found


@pytest.mark.parametrize(
    ("target", "target_masked", "expected"),
    [
        (FIRST_TARGET, True, [0.0176679, 0.0185874]),
        (FIRST_TARGET, False, [0.0168921, 0.0169061]),
        (SECOND_TARGET, True, [0.0264825, 0.0270612]),
    ],
)
def test_distances_of_formulas(target: Tensor, target_masked: bool, expected: list[float]) -> None:
    assert distances(target, target_masked=target_masked) == pytest.approx(expected, abs=ABSOLUTE)


def test_masks_at_the_resolution_of_features() -> None:
    assert DISCS.sum(dim=(1, 2)).tolist() == [20069, 25433]
    masks = resampled_masks(torch.cat([DISCS[:1], DISCS[:1].flip(2), DISCS[1:]]), RESOLUTION)
    assert masks.sum(dim=(1, 2)).tolist() == [1429, 1436, 1815]


def test_mutual_neighbours_know_no_left_and_right() -> None:
    found = mutual_distance(SOURCE[0], SECOND_TARGET[0])
    assert found == pytest.approx(0.0211037, abs=ROUNDED)
    assert found == pytest.approx(official_mutual_distance(SOURCE[0], SECOND_TARGET[0]), abs=1e-12)
    assert mutual_distance(SOURCE[0].flip(2), SECOND_TARGET[0]) == pytest.approx(found, abs=1e-9)
