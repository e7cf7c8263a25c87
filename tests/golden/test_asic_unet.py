"""The U-Net against values of the official code of ASIC (arXiv 2303.16201)."""

import pytest
import torch
from torch.testing import assert_close

from tests.golden.asic_inputs import fill, waves
from workers.methods.asic.network.unet import UNet


@pytest.mark.parametrize(
    ("width", "bilinear", "count"),
    [(0.5, False, 7_763_074), (0.25, False, 1_942_594), (1, False, 31_037_698), (0.5, True, 4_318_434)],
)
def test_parameters_count(width: float, bilinear: bool, count: int) -> None:
    assert sum(parameter.numel() for parameter in UNet(width, bilinear=bilinear).parameters()) == count


def test_before_training_nothing_moves() -> None:
    assert UNet(1 / 16)(waves(32, 0, 1)).abs().max() == 0


@pytest.mark.parametrize(
    ("bilinear", "training", "first", "second", "last", "mean", "deviation"),
    [
        (False, True, (0.141279, 0.386878), (-1.124588, 0.190342), (-0.021978, 0.280238), 0.550454, 0.947841),
        (False, False, (0.250980, 0.290334), (-0.239953, -0.054868), (0.078781, 0.135714), 0.425890, 0.542691),
        (True, True, (-0.040891, -0.036170), (0.251977, -0.632357), (-0.016842, 0.160711), -0.109084, 0.831708),
    ],
)
def test_offsets(
    bilinear: bool,
    training: bool,
    first: tuple[float, float],
    second: tuple[float, float],
    last: tuple[float, float],
    mean: float,
    deviation: float,
) -> None:
    network = UNet(1 / 16, bilinear=bilinear).train(training)
    fill(network)
    offsets = network(waves(32, 0, 1)).detach()
    found = torch.stack([offsets[0, 0, 0], offsets[0, 5, 9], offsets[1, 31, 31]])
    assert_close(found, torch.tensor([first, second, last]), atol=1e-4, rtol=0)
    assert_close(torch.stack([offsets.mean(), offsets.std()]), torch.tensor([mean, deviation]), atol=1e-4, rtol=0)


def test_odd_sizes_are_padded() -> None:
    network = UNet(1 / 16).train()
    fill(network)
    offsets = network(waves(40, 0, 1)).detach()
    assert_close(offsets[0, 5, 9], torch.tensor([-0.086328, 1.338933]), atol=1e-4, rtol=0)
    assert float(offsets.mean()) == pytest.approx(0.535848, abs=1e-4)
