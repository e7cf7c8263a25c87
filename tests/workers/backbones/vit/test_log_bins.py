import pytest
import torch
from torch.testing import assert_close

from workers.backbones.vit.log_bins import BINS, log_bins, log_bins_reference


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (5, 4), (9, 7)])
def test_bins_equal_the_reference(size: tuple[int, int]) -> None:
    maps = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))
    binned = log_bins(maps)
    assert binned.shape == (2, BINS * 3, *size)
    assert_close(binned, log_bins_reference(maps), atol=1e-6, rtol=0)


def test_the_fifth_bin_is_the_place_itself() -> None:
    maps = torch.rand(1, 2, 4, 4)
    assert torch.equal(log_bins(maps)[:, 8:10], maps)
