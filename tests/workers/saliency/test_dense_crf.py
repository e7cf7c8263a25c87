import pytest
import torch
from torch import Tensor

from workers.saliency.dense_crf import RADIUS, CrfOptions, dense_crf, dense_crf_exact


def scene(height: int, width: int, labels: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shade = (torch.arange(width) > width // 2).float() * 0.5 + 0.2
    image = shade.expand(3, height, width) + 0.05 * torch.rand(3, height, width, generator=generator)
    return 2 * torch.rand(labels, height, width, generator=generator), image


@pytest.mark.parametrize("size", [(16, 12), (5, 16), (1, 7), (1, 1)])
def test_small_pictures_match_the_whole_kernels(size: tuple[int, int]) -> None:
    assert max(size) <= RADIUS + 1
    energies, image = scene(*size)
    torch.testing.assert_close(dense_crf(energies, image), dense_crf_exact(energies, image), atol=1e-5, rtol=1e-4)


def test_the_window_changes_next_to_no_label() -> None:
    energies, image = scene(48, 60)
    cut, whole = dense_crf(energies, image), dense_crf_exact(energies, image)
    assert (cut.argmax(dim=0) == whole.argmax(dim=0)).float().mean() > 0.98


def test_without_weights_the_energies_decide() -> None:
    energies, image = scene(8, 9)
    free = CrfOptions(smooth_weight=0, bilateral_weight=0)
    torch.testing.assert_close(dense_crf(energies, image, free), (-energies).softmax(dim=0))


def test_edges_of_the_picture_hold_labels_apart() -> None:
    """A noisy half and half becomes the picture's two halves."""
    height, width = 24, 32
    energies, image = scene(height, width, labels=2)
    right = torch.arange(width) > width // 2
    energies[0] += 0.8 * right
    energies[1] += 0.8 * ~right
    noisy, fitted = (-energies).argmax(dim=0), dense_crf(energies, image).argmax(dim=0)
    truth = right.long().expand(height, width)
    assert (noisy == truth).float().mean() < 0.95
    assert torch.equal(fitted, truth)


def test_probabilities_add_up_to_one() -> None:
    energies, image = scene(20, 20)
    torch.testing.assert_close(dense_crf(energies, image).sum(dim=0), torch.ones(20, 20))


def test_large_pictures_have_no_whole_kernels() -> None:
    with pytest.raises(ValueError, match="10000 pixels are too many"):
        dense_crf_exact(torch.zeros(2, 100, 100), torch.zeros(3, 100, 100))


def test_it_shows_life() -> None:
    beats = 0

    def tick() -> None:
        nonlocal beats
        beats += 1

    dense_crf(*scene(16, 16), CrfOptions(steps=2), tick=tick)
    assert beats >= 2
