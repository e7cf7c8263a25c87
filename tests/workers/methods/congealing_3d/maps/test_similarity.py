import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate, normalize

from workers.geometry.coordinates import identity_grid
from workers.methods.congealing_3d.maps.similarity import SimilarityPyramid

CELLS = 8
CHANNELS = 12


def drawn(seed: int, size: int = CELLS) -> Tensor:
    return torch.randn(2, CHANNELS, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def whole(size: int = CELLS) -> Tensor:
    return torch.ones(2, 1, size, size, dtype=torch.float64)


def places(size: int) -> Tensor:
    moved = 0.2 * torch.randn(2, 2, size, size, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return (identity_grid(size, size).permute(2, 0, 1) + moved).clamp(-0.85, 0.85)


def seen_at(rendered: Tensor, at: Tensor) -> Tensor:
    return grid_sample(normalize(rendered, dim=1), at.permute(0, 2, 3, 1), padding_mode="border", align_corners=False)


def cosines(features: Tensor, rendered: Tensor, at: Tensor) -> Tensor:
    return (normalize(features, dim=1) * normalize(seen_at(rendered, at), dim=1)).sum(dim=1)


def test_readings_are_cosines_of_interpolated_features() -> None:
    pyramid = SimilarityPyramid(drawn(0), whole(), drawn(1), whole())
    at = places(CELLS)
    torch.testing.assert_close(pyramid.at(CELLS).read(at).similarity, cosines(drawn(0), drawn(1), at))


def test_finer_nodes_read_interpolated_features_of_the_image() -> None:
    pyramid = SimilarityPyramid(drawn(0), whole(), drawn(1), whole())
    finer = interpolate(normalize(drawn(0), dim=1), (2 * CELLS, 2 * CELLS), mode="bilinear")
    at = places(2 * CELLS)
    torch.testing.assert_close(pyramid.at(2 * CELLS).read(at).similarity, cosines(finer, drawn(1), at))


def test_coarser_nodes_read_means_of_what_the_mask_shows() -> None:
    mask = whole()
    mask[..., ::2] = 0
    pyramid = SimilarityPyramid(drawn(0), mask, drawn(1), whole())
    at = places(CELLS // 2)
    every = at.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = cosines(drawn(0), drawn(1), every)[..., 1::2]
    expected = (expected[:, ::2] + expected[:, 1::2]) / 2
    torch.testing.assert_close(pyramid.at(CELLS // 2).read(at).similarity, expected)


def test_derivatives_are_those_of_the_cosines() -> None:
    pyramid = SimilarityPyramid(drawn(0), whole(), drawn(1), whole())
    at = places(CELLS).requires_grad_()
    gradient = torch.autograd.grad(cosines(drawn(0), drawn(1), at).sum(), at)[0]
    reading = pyramid.at(CELLS).read(at.detach())
    torch.testing.assert_close(reading.gradient, gradient)


def test_the_curvature_is_that_of_unit_features() -> None:
    """Half the squared distance of unit vectors is one minus their cosine; its Gauss-Newton matrix is J^T J."""
    pyramid = SimilarityPyramid(drawn(0), whole(), drawn(1), whole())
    at = places(CELLS)
    step = 1e-6
    slopes = []
    for axis in range(2):
        ends = []
        for sign in (-1, 1):
            moved = at.clone()
            moved[:, axis] += sign * step
            ends.append(normalize(seen_at(drawn(1), moved), dim=1))
        slopes.append((ends[1] - ends[0]) / (2 * step))
    expected = torch.stack([(slopes[i] * slopes[j]).sum(dim=1) for i, j in ((0, 0), (0, 1), (1, 1))], dim=1)
    torch.testing.assert_close(pyramid.at(CELLS).read(at).curvature, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("x", "least", "most"), [(-0.6, 0.99, 1.01), (0.05, 0.3, 0.95), (0.6, -0.01, 0.01)])
def test_similarity_falls_to_zero_off_the_render(x: float, least: float, most: float) -> None:
    constant = torch.ones(2, CHANNELS, CELLS, CELLS, dtype=torch.float64)
    shown = whole()
    shown[..., CELLS // 2 :] = 0
    at = places(CELLS)
    at[:, 0] = x
    reading = SimilarityPyramid(constant, whole(), constant, shown).at(CELLS).read(at)
    assert least <= float(reading.similarity.min())
    assert float(reading.similarity.max()) <= most
