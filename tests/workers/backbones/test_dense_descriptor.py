import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from api_schemas.backbones import BACKBONES
from workers.backbones.dense_descriptor import (
    STRIDE,
    DenseDescriptor,
    gaussian_blur,
    orientation_maps,
    strongest,
)


def noise_picture(height: int, width: int, *, seed: int = 0) -> Tensor:
    coarse = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 130), (33, 257)])
def test_cells_cover_any_size_with_unit_vectors(height: int, width: int) -> None:
    backbone = DenseDescriptor()
    features = backbone.extract(noise_picture(height, width))
    assert backbone.dim == BACKBONES[backbone.name].channels
    assert features.shape == (1, backbone.dim, round(height / STRIDE), round(width / STRIDE))
    assert_close(features.norm(dim=1), torch.ones_like(features[:, 0]))


def test_each_image_is_described_by_itself() -> None:
    images = torch.cat([noise_picture(64, 64, seed=1), noise_picture(64, 64, seed=2)])
    backbone = DenseDescriptor()
    assert_close(backbone.extract(images)[1:], backbone.extract(images[1:]), atol=1e-5, rtol=0)


def test_moving_the_picture_by_a_cell_moves_the_features_by_a_cell() -> None:
    wide = noise_picture(256, 260)
    backbone = DenseDescriptor()
    left, right = backbone.extract(wide[..., :256]), backbone.extract(wide[..., 4:])
    cosine = (left[..., 24:41, 25:41] * right[..., 24:41, 24:40]).sum(dim=1)
    assert cosine.min() > 0.98


def test_reversed_contrast_changes_little() -> None:
    image = noise_picture(128, 128)
    backbone = DenseDescriptor()
    same = (backbone.extract(image) * backbone.extract(1 - image)).sum(dim=1)
    other = (backbone.extract(image) * backbone.extract(noise_picture(128, 128, seed=5))).sum(dim=1)
    assert (1 - same).max() < 0.05 * (1 - other).mean()


def test_larger_copy_of_a_picture_gets_the_same_features() -> None:
    image = noise_picture(128, 128)
    large = torch.nn.functional.interpolate(image, (256, 256), mode="bicubic")
    backbone = DenseDescriptor()
    pooled = torch.nn.functional.avg_pool2d(backbone.extract(large), 2)
    cosine = torch.nn.functional.cosine_similarity(backbone.extract(image), pooled)
    assert cosine.mean() > 0.9


def test_flat_picture_has_no_edges_and_no_nan() -> None:
    features = DenseDescriptor().extract(torch.full((1, 3, 64, 64), 0.5))
    assert torch.isfinite(features).all()


def test_orientation_of_a_vertical_edge_is_horizontal() -> None:
    image = torch.zeros(1, 1, 16, 16)
    image[..., 8:] = 1
    strength = orientation_maps(image)[0, :, 8, 8]
    assert strength.argmax() == 0
    assert strength[3] == pytest.approx(0, abs=1e-6)


def test_blur_keeps_constant_pictures_and_the_sum() -> None:
    maps = torch.zeros(1, 1, 41, 41)
    maps[..., 20, 20] = 1
    blurred = gaussian_blur(maps, 2.0)
    assert float(blurred.sum()) == pytest.approx(1, abs=1e-5)
    assert_close(gaussian_blur(torch.ones(1, 2, 9, 9), 3.0), torch.ones(1, 2, 9, 9))


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 1, 64, 64), (1, 3, 31, 64)])
def test_refuses_what_it_cannot_describe(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images"):
        DenseDescriptor().extract(torch.zeros(shape))


def test_the_strongest_channel_speaks_for_a_pixel() -> None:
    gx, gy = torch.randn(2, 2, 3, 9, 7, generator=torch.Generator().manual_seed(0))
    channel = (gx.square() + gy.square()).argmax(dim=1, keepdim=True)
    x, y = strongest(gx, gy)
    assert torch.equal(x, gx.gather(1, channel))
    assert torch.equal(y, gy.gather(1, channel))
