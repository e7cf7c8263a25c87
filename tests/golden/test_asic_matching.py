"""Pseudo-correspondences as the official code of ASIC (arXiv 2303.16201) finds them on a tiny input."""

import pytest
import torch
from torch import Tensor

from workers.matching.pseudo_correspondences import pseudo_correspondences, token_pixels


def features(*degrees: float) -> Tensor:
    angle = torch.tensor(degrees).deg2rad()
    return 2.5 * torch.stack([angle.cos(), angle.sin()], dim=1)


def tokens(*chosen: int) -> Tensor:
    return torch.isin(torch.arange(9), torch.tensor(chosen))


FIRST = features(0, 20, 45, 90, 135, 180, 200, 250, 300)
SECOND = features(5, 22, 50, 95, 100, 182, 255, 290, 340)


def test_mutual_nearest_neighbours() -> None:
    found = pseudo_correspondences(FIRST, SECOND)
    assert found.first.tolist() == [0, 1, 2, 3, 5, 7, 8]
    assert found.second.tolist() == [0, 1, 2, 3, 5, 6, 7]
    expected = torch.tensor([0.996195, 0.999391, 0.996195, 0.996195, 0.999391, 0.996195, 0.984808])
    torch.testing.assert_close(found.similarity, expected, atol=1e-5, rtol=0)
    pixels = token_pixels(found.first, columns=3, stride=2, patch=8)
    assert pixels.tolist() == [[4, 4], [6, 4], [8, 4], [4, 6], [8, 6], [6, 8], [8, 8]]


@pytest.mark.parametrize(("compat", "kept"), [(True, [1, 3, 5]), (False, [1, 5])])
def test_the_official_filter_lets_a_background_partner_through(compat: bool, kept: list[int]) -> None:
    found = pseudo_correspondences(
        FIRST, SECOND, first_mask=tokens(0, 1, 3, 5, 7), second_mask=tokens(1, 4, 5), compat=compat
    )
    assert found.first.tolist() == kept
    assert found.second.tolist() == kept
