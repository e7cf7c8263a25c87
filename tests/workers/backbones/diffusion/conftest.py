from pathlib import Path

import pytest
import torch

from tests.workers.backbones.diffusion.tiny import load_tiny, save_tiny
from workers.backbones.diffusion.stable_diffusion import StableDiffusion


@pytest.fixture(scope="session")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder that holds the tiny network under the name `sd15`; not to be written to."""
    folder = tmp_path_factory.mktemp("weights")
    save_tiny(folder / "sd15")
    return folder


@pytest.fixture(scope="session")
def diffusion(weights_dir: Path) -> StableDiffusion:
    """The tiny network, loaded."""
    return load_tiny(weights_dir)


@pytest.fixture(scope="session")
def exact(weights_dir: Path) -> StableDiffusion:
    """The tiny network in float64, in which the order of sums does not show."""
    loaded = load_tiny(weights_dir, dtype=torch.float64)
    loaded.vae.double()
    return loaded
