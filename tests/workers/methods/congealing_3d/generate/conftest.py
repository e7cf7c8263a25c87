import pytest

from tests.workers.backbones.mvdream.tiny import NAME, load_tiny, save_tiny_checkpoint
from workers.backbones.mvdream.networks import MvdreamNetworks


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> MvdreamNetworks:
    """Tiny random networks with the topology of MVDream's."""
    folder = tmp_path_factory.mktemp("weights")
    save_tiny_checkpoint(folder / NAME)
    return load_tiny(folder)
