"""MVDream on stock diffusers against values of the official code (arXiv 2308.16512).

The weights come by their official names; the values were computed with the official U-Net in float64.
"""

import math

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.testing import assert_close

from workers.backbones.diffusion.schedule import alpha_bar
from workers.backbones.mvdream.conditions import camera_conditions
from workers.backbones.mvdream.conversion import unet_tensors
from workers.backbones.mvdream.cross_view import install_cross_view, require_cross_view
from workers.backbones.mvdream.names import UNET_NAMES
from workers.backbones.mvdream.topology import Layout
from workers.backbones.weights.tensors import fill
from workers.geometry.cameras import looking_at_origin

GOLDEN_RATIO = 0.6180339887
WIDTHS = (32, 64, 128, 128)
LAYOUT = Layout(WIDTHS, tuple(width // 16 for width in WIDTHS), 24, linear_projection=True)
VIEWS = 4
TIMESTEP = 500


def row_of_cameras(azimuth_deg: float) -> Tensor:
    """Four cameras around, 15 degrees up, from where the official code's azimuth says; its 90 is our 0."""
    azimuths = azimuth_deg - 90 + 90 * torch.arange(VIEWS, dtype=torch.float64)
    same = torch.ones_like(azimuths)
    return camera_conditions(looking_at_origin(azimuths, 15 * same, 1.7 * same, 40 * same))


def formula(shape: torch.Size, name: str, rank: int) -> Tensor:
    """A weight of the golden network; `rank` counts the official names in their order."""
    index = torch.arange(math.prod(shape), dtype=torch.float64)
    values = (GOLDEN_RATIO * index**2 + 1.7 * index + 0.9 * rank).remainder(1000).sin().view(shape)
    if len(shape) > 1:
        return 1.6 * values / math.sqrt(math.prod(shape[1:]))
    return 1 + 0.1 * values if name.endswith(".weight") else 0.05 * values


def golden_unet() -> UNet2DConditionModel:
    """The golden network, whose weights come by their official names."""
    with torch.device("meta"):
        unet: UNet2DConditionModel = UNet2DConditionModel.from_config(LAYOUT.unet_config())
    shapes = {UNET_NAMES.official(name): tensor.shape for name, tensor in unet.state_dict().items()}
    named = {name: shape for name, shape in shapes.items() if name is not None}
    assert len(named) == 690
    official = {name: formula(named[name], name, rank) for rank, name in enumerate(sorted(named))}
    fill(unet, unet_tensors(official), source="of the formula")
    install_cross_view(unet)
    return unet.eval()


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return golden_unet()


@torch.no_grad()
def noise(unet: UNet2DConditionModel, conditions: Tensor) -> Tensor:
    latents = torch.cos(0.7 * torch.arange(4 * 4 * 8 * 8, dtype=torch.float64)).view(4, 4, 8, 8)
    text = torch.sin(0.3 * torch.arange(4 * 7 * 24, dtype=torch.float64)).view(4, 7, 24)
    predicted: Tensor = unet(latents, TIMESTEP, text, class_labels=conditions).sample
    return predicted


@pytest.fixture(scope="module")
def predicted(unet: UNet2DConditionModel) -> Tensor:
    require_cross_view(unet).views = VIEWS
    return noise(unet, row_of_cameras(90))


def test_the_noise_of_the_golden_network_matches(predicted: Tensor) -> None:
    assert float(predicted.mean()) == pytest.approx(-0.11154285, abs=1e-8)
    assert float(predicted.std()) == pytest.approx(0.64750464, abs=1e-8)
    assert float(predicted.abs().max()) == pytest.approx(2.247890, abs=1e-6)
    first = torch.tensor([-0.001347, 0.195199, 0.656283, 0.249902], dtype=torch.float64)
    assert_close(predicted[0, 0, 0, :4], first, rtol=0, atol=1e-6)
    assert float(predicted[3, 2, 5, 6]) == pytest.approx(-0.741152, abs=1e-6)


def test_views_that_do_not_see_each_other_give_other_noise(unet: UNet2DConditionModel, predicted: Tensor) -> None:
    require_cross_view(unet).views = 1
    assert (noise(unet, row_of_cameras(90)) - predicted).abs().max() > 0.1


def test_cameras_with_y_up_or_transposed_give_other_noise(unet: UNet2DConditionModel, predicted: Tensor) -> None:
    require_cross_view(unet).views = VIEWS
    matrices = row_of_cameras(90).view(VIEWS, 4, 4)
    y_up = matrices[:, [0, 2, 1, 3]] * torch.tensor([1.0, 1, -1, 1]).double()[:, None]
    for other in (matrices.transpose(1, 2), y_up):
        assert (noise(unet, other.flatten(1)) - predicted).abs().max() > 0.1


def test_conditions_are_the_official_ones() -> None:
    at_0 = [1, 0, 0, 0, 0, 0.258819, -0.965926, -0.965926, 0, 0.965926, 0.258819, 0.258819, 0, 0, 0, 1]
    at_90 = [0, -0.258819, 0.965926, 0.965926, 1, 0, 0, 0, 0, 0.965926, 0.258819, 0.258819, 0, 0, 0, 1]
    for azimuth_deg, expected in ((0, at_0), (90, at_90)):
        found = row_of_cameras(azimuth_deg)[0]
        assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("timestep", "kept"),
    [(0, 0.99915), (20, 0.98131436), (500, 0.27633268), (637, 0.12755983), (980, 0.00584378), (999, 0.00466010)],
)
def test_the_schedule_is_the_official_one(timestep: int, kept: float) -> None:
    assert alpha_bar(timestep) == pytest.approx(kept, abs=1e-8)
