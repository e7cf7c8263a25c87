"""Parts and the dense CRF against values of the official code of ASIC (arXiv 2303.16201)."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.saliency.dense_crf import dense_crf, dense_crf_exact
from workers.saliency.parts import BACKGROUND, PartOptions, co_segmented_parts

SIDE, TOKENS, PIXELS = 20, 29, 4


def crf_input() -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(float(SIDE)), torch.arange(float(SIDE)), indexing="ij")
    distances = torch.stack(
        [0.9 + 0.6 * torch.sin(x / 3 + y / 5), 1 + 0.5 * torch.cos(x / 4 - y / 6), 1.1 + 0.4 * torch.sin(y / 2)]
    )
    rgb = torch.stack([120 + 80 * torch.sin(x / 4), 100 + 60 * torch.cos(y / 5), torch.full_like(x, 128)])
    return distances - distances.amax(dim=0), rgb.byte().float() / 255


@pytest.mark.parametrize("infer", [dense_crf, dense_crf_exact])
def test_dense_crf(infer: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Label counts and rows of pydensecrf."""
    labels = infer(*crf_input()).argmax(dim=0)
    assert torch.bincount(labels.flatten(), minlength=3).tolist() == [286, 114, 0]
    for row, zeros in ((0, 15), (5, 15), (10, 14), (15, 14)):
        assert labels[row].tolist() == [0] * zeros + [1] * (SIDE - zeros)


def quadrant_disc(background: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features (6, 29, 29) of a disc of four quadrants, each a direction of its own, and its labels (29, 29)."""
    middle = TOKENS // 2
    y, x = torch.meshgrid(torch.arange(TOKENS), torch.arange(TOKENS), indexing="ij")
    labels = (x >= middle).long() + 2 * (y >= middle).long()
    inside = (x - middle).square() + (y - middle).square() < 10**2
    directions = torch.where(inside, labels, 4 + background)
    features = 5 * torch.eye(6)[directions] + 0.05 * torch.randn(TOKENS, TOKENS, 6, generator=generator)
    return features.permute(2, 0, 1), torch.where(inside, labels, BACKGROUND)


def test_parts_of_a_planted_object() -> None:
    """The official pipeline finds the disc and its quadrants without a fault."""
    generator = torch.Generator().manual_seed(0)
    drawn = [quadrant_disc(background, generator) for background in (0, 1, 0)]
    features, truth = torch.stack([maps for maps, _ in drawn]), torch.stack([labels for _, labels in drawn])
    masks = (truth != BACKGROUND).float().unsqueeze(1)
    images = interpolate(masks * torch.rand(3, 3, 1, 1, generator=generator), scale_factor=PIXELS)
    found = co_segmented_parts(features, features.flip(-1), masks, images, PartOptions())
    assert found.count == 4
    labels = found.labels[:, PIXELS // 2 :: PIXELS, PIXELS // 2 :: PIXELS]
    assert torch.equal(labels == BACKGROUND, truth == BACKGROUND)
    for part in range(4):
        assert len(truth[labels == part].unique()) == 1
