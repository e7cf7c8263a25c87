"""The diffusion network's plumbing against values of official code.

Latents, maps and alpha-bars come from the code of Unsupervised Semantic Correspondence Using Stable Diffusion
(arXiv 2305.15581), block outputs from that of DIFT (arXiv 2306.03881), on a tiny network filled by formulas.
"""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.workers.backbones.diffusion.tiny import context, picture, tiny_unet, tiny_vae
from workers.backbones.diffusion.schedule import alpha_bar, noised
from workers.backbones.diffusion.unet import read_unet
from workers.backbones.diffusion.vae import VaeEncoder

TIMESTEP = 261


@pytest.fixture(scope="module")
def latents() -> Tensor:
    with torch.no_grad():
        return VaeEncoder(tiny_vae()).posterior(picture(256, 256)).mean


@pytest.fixture(scope="module")
def blocks(latents: Tensor) -> dict[int, Tensor]:
    """Outputs of the decoder's blocks 0 to 3, under noise that is 0.5 everywhere."""
    noisy = noised(latents, torch.full_like(latents, 0.5), TIMESTEP)
    with torch.no_grad():
        states = read_unet(tiny_unet(), noisy, TIMESTEP, context(), places=(3, 6, 9, 12))
    return {place // 3 - 1: state for place, state in states.items()}


@pytest.mark.parametrize(
    ("timestep", "expected"), [(40, 0.9618858), (140, 0.8417623), (261, 0.6556690), (820, 0.0308288)]
)
def test_alpha_bar_matches(timestep: int, expected: float) -> None:
    # The official values are products of up to a thousand float32 factors, ours of float64.
    assert alpha_bar(timestep) == pytest.approx(expected, rel=1e-6)


def test_latents_match(latents: Tensor) -> None:
    assert float(latents.mean()) == pytest.approx(0.0294979, rel=1e-4)
    assert float(latents.std()) == pytest.approx(0.8076944, rel=1e-4)
    assert_close(latents[0, :, 5, 7], torch.tensor([-0.0031752, 0.0202598, 0.0436949, 0.0319661]), rtol=1e-4, atol=1e-6)


def test_decoder_blocks_have_the_official_shapes(blocks: dict[int, Tensor]) -> None:
    shapes = {block: tuple(state.shape[1:]) for block, state in blocks.items()}
    assert shapes == {0: (64, 8, 8), 1: (64, 16, 16), 2: (64, 32, 32), 3: (32, 32, 32)}


def test_dift_features_match(blocks: dict[int, Tensor]) -> None:
    assert float(blocks[1].mean()) == pytest.approx(-0.00169555, rel=1e-4)
    assert float(blocks[1][0, 3, 2, 1]) == pytest.approx(0.37290144, rel=1e-4)
    deviations = {block: float(blocks[block].std()) for block in (0, 1, 2)}
    assert deviations == pytest.approx({0: 0.14571851, 1: 0.61014563, 2: 0.43481347}, rel=1e-4)
