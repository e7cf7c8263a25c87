from pathlib import Path

import pytest

from tests.workers.backbones.mvdream.tiny import NAME, load_tiny, save_tiny_checkpoint
from workers.backbones.mvdream.networks import MvdreamNetworks


@pytest.fixture(scope="session")
def mvdream_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder that holds the tiny networks; not to be written to."""
    folder = tmp_path_factory.mktemp("weights")
    save_tiny_checkpoint(folder / NAME)
    return folder


@pytest.fixture(scope="session")
def mvdream(mvdream_dir: Path) -> MvdreamNetworks:
    """The tiny networks, loaded."""
    return load_tiny(mvdream_dir)
