"""Blocks of features kept from job to job."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from api_schemas.backbones import FeatureOptions
from workers.backbones.base import Backbone, Tick, no_tick
from workers.backbones.cache import FeatureCache, blocks_cached, extract_cached, feature_key
from workers.backbones.dense_descriptor import DenseDescriptor

ROOMY = 10**9


class TwoBlocks(Backbone):
    """Describes a picture by its own pixels and, coarser, by their squares, and counts how many it was shown."""

    name, options, stride, dim = "two_blocks", FeatureOptions(), 1, 6

    def __init__(self, identity: str = "two blocks") -> None:
        self.identity = identity
        self.described = 0

    @property
    def block_channels(self) -> tuple[int, ...]:
        return (3, 3)

    def blocks(self, images: Tensor, *, tick: Tick = no_tick) -> tuple[Tensor, ...]:
        tick()
        self.described += len(images)
        return images * 2, avg_pool2d(images.square(), 2)

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        tick()
        raise AssertionError(f"{len(images)} pictures were described by `extract`, not by `blocks`")


class OneBlock(Backbone):
    """Describes a picture by its own pixels."""

    name, options, stride, dim, identity = "one_block", FeatureOptions(), 1, 3, "one block"

    def __init__(self) -> None:
        self.described = 0

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        tick()
        self.described += len(images)
        return images + 1


def pictures(count: int) -> Tensor:
    return torch.rand(count, 3, 40, 32, generator=torch.Generator().manual_seed(0))


def cache_in(folder: Path) -> FeatureCache:
    return FeatureCache(folder, max_bytes=ROOMY)


def entries(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def assert_described(blocks: tuple[Tensor, ...], images: Tensor) -> None:
    """Blocks are those of `TwoBlocks`, bit by bit."""
    fine, coarse = blocks
    torch.testing.assert_close(fine, images * 2, rtol=0, atol=0)
    torch.testing.assert_close(coarse, avg_pool2d(images.square(), 2), rtol=0, atol=0)


def test_only_what_is_new_is_described(tmp_path: Path) -> None:
    backbone, images = TwoBlocks(), pictures(4)
    first, known = blocks_cached(backbone, images[:3], cache_in(tmp_path))
    assert (known, backbone.described) == (0, 3)
    assert_described(first, images[:3])
    chosen = images[[3, 1, 0]]
    again, known = blocks_cached(backbone, chosen, cache_in(tmp_path))
    assert (known, backbone.described) == (2, 4)
    assert_described(again, chosen)
    assert len(entries(tmp_path)) == 8


def test_without_a_cache_all_are_described() -> None:
    backbone = TwoBlocks()
    for _ in range(2):
        blocks, known = blocks_cached(backbone, pictures(2), None)
        assert known == 0
        assert_described(blocks, pictures(2))
    assert backbone.described == 4


@pytest.mark.parametrize("number", range(4))
def test_a_picture_with_a_block_missing_is_described_anew(tmp_path: Path, number: int) -> None:
    backbone = TwoBlocks()
    blocks_cached(backbone, pictures(2), cache_in(tmp_path))
    entries(tmp_path)[number].write_bytes(b"damaged")
    blocks, known = blocks_cached(backbone, pictures(2), cache_in(tmp_path))
    assert (known, backbone.described) == (1, 3)
    assert_described(blocks, pictures(2))
    assert blocks_cached(backbone, pictures(2), cache_in(tmp_path))[1] == 2


def test_blocks_of_another_backbone_are_other_entries(tmp_path: Path) -> None:
    blocks_cached(TwoBlocks(), pictures(1), cache_in(tmp_path))
    other = TwoBlocks("two blocks of other weights")
    assert blocks_cached(other, pictures(1), cache_in(tmp_path))[1] == 0
    assert len(entries(tmp_path)) == 4


def test_blocks_are_no_features(tmp_path: Path) -> None:
    backbone, cache = TwoBlocks(), cache_in(tmp_path)
    blocks_cached(backbone, pictures(1), cache)
    assert cache.get(feature_key(backbone, pictures(1)[0])) is None


def test_a_single_block_is_the_features_and_shares_their_entries(tmp_path: Path) -> None:
    backbone, images = OneBlock(), pictures(3)
    extract_cached(backbone, images[:2], cache_in(tmp_path))
    (block,), known = blocks_cached(backbone, images, cache_in(tmp_path))
    assert (known, backbone.described) == (2, 3)
    torch.testing.assert_close(block, images + 1, rtol=0, atol=0)
    features, known = extract_cached(backbone, images, cache_in(tmp_path))
    assert known == 3
    torch.testing.assert_close(features, block, rtol=0, atol=0)
    assert len(entries(tmp_path)) == 3


def test_a_backbone_has_one_block_unless_it_says_otherwise() -> None:
    backbone, images = DenseDescriptor(), pictures(2)
    assert backbone.block_channels == (backbone.dim,)
    (block,) = backbone.blocks(images)
    torch.testing.assert_close(block, backbone.extract(images), rtol=0, atol=0)
    (cached,), known = blocks_cached(backbone, images, None)
    assert known == 0
    torch.testing.assert_close(cached, block, rtol=0, atol=0)


@pytest.mark.parametrize("backbone", [TwoBlocks(), OneBlock()])
def test_life_is_shown_for_what_is_described_alone(tmp_path: Path, backbone: Backbone) -> None:
    ticks: list[int] = []
    for _ in range(2):
        blocks_cached(backbone, pictures(1), cache_in(tmp_path), tick=lambda: ticks.append(1))
    assert len(ticks) == 1
