import pytest
import torch
from torch.testing import assert_close

from api_schemas.backbones import FACETS, FeatureOptions
from tests.workers.backbones.vit.tiny import DIM, HEADS, options, pictures, tiny_backbone, tiny_network
from workers.backbones.base import Compute
from workers.backbones.vit.framing import fitted, spread
from workers.backbones.vit.reference import extract_reference


@pytest.mark.parametrize("family", ["dino", "dinov2", "dinov3"])
@pytest.mark.parametrize("size", [(32, 32), (50, 77), (33, 160)])
def test_features_equal_the_reference(family: str, size: tuple[int, int]) -> None:
    network = tiny_network(family)
    images = pictures(2, *size)
    for facet in FACETS:
        wanted = options(1, facet, network.patch // 2, log_bins=facet == "key")
        backbone = tiny_backbone(wanted, network)
        features = backbone.extract(images)
        assert features.shape == (2, backbone.dim, *(round(side / backbone.stride) for side in size))
        assert_close(features, extract_reference(network, images, wanted), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(32, 512), (512, 32), (47, 32)])
def test_sizes_and_aspects_at_the_limits_are_described(size: tuple[int, int]) -> None:
    features = tiny_backbone(options(0, "key", 14), tiny_network("dinov2")).extract(pictures(1, *size))
    assert features.shape == (1, DIM, *(round(side / 14) for side in size))
    assert torch.isfinite(features).all()


@pytest.mark.parametrize("size", [(31, 64), (32, 513)])
def test_images_too_small_or_too_long_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"give at least|crop or pad"):
        tiny_backbone(options(0, "key", 8)).extract(pictures(1, *size))


def test_several_ways_come_from_one_pass() -> None:
    network = tiny_network()
    backbone = tiny_backbone(options(2, "key", 4), network)
    images = pictures(2, 40, 56)
    ways = [
        FeatureOptions(layer=1),
        FeatureOptions(),
        FeatureOptions(facet="attention"),
        FeatureOptions(layer=1, log_bins=True),
        FeatureOptions(layer=0, facet="token", stride=4),
    ]
    alone = [
        options(1, "key", 4),
        options(2, "key", 4),
        options(2, "attention", 4),
        options(1, "key", 4, log_bins=True),
        options(0, "token", 4),
    ]
    found = backbone.extract_all(images, ways)
    for features, wanted in zip(found, alone, strict=True):
        assert torch.equal(features, tiny_backbone(wanted, network).extract(images))
    assert [len(features[0]) for features in found] == [DIM, DIM, HEADS, 17 * DIM, DIM]


def test_one_pass_has_one_stride() -> None:
    with pytest.raises(ValueError, match="one stride, here 4"):
        tiny_backbone(options(1, "key", 4)).extract_all(pictures(1, 32, 32), [FeatureOptions(stride=8)])


@pytest.mark.parametrize("compute", [Compute(), Compute(batch_pixels=3 * 64 * 64)])
def test_images_are_described_by_themselves_in_any_batch(compute: Compute) -> None:
    backbone = tiny_backbone(options(2, "token", 2), compute=compute)
    images = pictures(9, 64, 64)
    alone = torch.cat([backbone.extract(image) for image in images[:, None]])
    assert_close(backbone.extract(images), alone, atol=1e-5, rtol=1e-5)


def test_half_precision_gives_single_precision_features_close_by() -> None:
    exact = tiny_network("dinov3")
    images = pictures(1, 64, 64)
    wanted = options(2, "token", 8)
    expected = tiny_backbone(wanted, exact).extract(images)
    rough = tiny_network("dinov3")
    rough = type(rough)(rough.model.bfloat16(), digest="d1")
    features = tiny_backbone(wanted, rough, Compute(dtype=torch.bfloat16)).extract(images)
    assert features.dtype == torch.float32
    assert float(torch.cosine_similarity(features, expected, dim=1).mean()) > 0.999


def test_features_lie_at_the_centres_of_their_cells() -> None:
    rows, columns = torch.meshgrid(torch.arange(15.0), torch.arange(15.0), indexing="ij")
    centres = torch.stack([4 + 4 * columns, 4 + 4 * rows])[None]
    read = spread(centres, (16, 16), patch=8, stride=4)[0]
    expected = (torch.arange(16) * 4 + 2).float().clamp(4, 60)
    assert_close(read[0, 0], expected)
    assert_close(read[1, :, 0], expected)


def test_images_are_fitted_to_whole_patches() -> None:
    images = pictures(1, 40, 60)
    assert fitted(images, 8).shape == (1, 3, 40, 64)
    assert fitted(images, 20) is images
    assert fitted(images, 14).shape == (1, 3, 42, 56)
    assert 0 <= float(fitted(images, 14).min()) <= float(fitted(images, 14).max()) <= 1


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (options(1, "key", 3), "stride 3 does not divide the patch of 8"),
        (options(3, "key", 4), "no layer 3; the last is 2"),
        (FeatureOptions(layer=1, facet="key", stride=4), "have a gap"),
    ],
)
def test_options_that_do_not_fit_are_refused(wanted: FeatureOptions, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        tiny_backbone(wanted)


def test_attributes_say_what_it_is() -> None:
    network = tiny_network()
    backbone = tiny_backbone(options(1, "key", 4), network)
    assert (backbone.name, backbone.stride, backbone.dim) == ("tiny", 4, DIM)
    assert tiny_backbone(options(1, "value", 4, log_bins=True), network).dim == 17 * DIM
    assert tiny_backbone(options(1, "attention", 4), network).dim == HEADS
    others = [options(2, "key", 4), options(1, "value", 4), options(1, "key", 8), options(1, "key", 4, log_bins=True)]
    identities = {tiny_backbone(other, network).identity for other in others}
    identities |= {tiny_backbone(options(1, "key", 4), network, Compute(dtype=torch.bfloat16)).identity}
    assert len(identities - {backbone.identity}) == 5
    assert "d1" in backbone.identity
