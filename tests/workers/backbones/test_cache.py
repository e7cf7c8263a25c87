"""Features kept from job to job."""

import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch
from torch import Tensor

from api_schemas.backbones import FeatureOptions
from tests.disks import small_disk
from workers.backbones.base import Backbone, Compute, Tick, no_tick
from workers.backbones.cache import FeatureCache, extract_cached, feature_key
from workers.backbones.dense_descriptor import DenseDescriptor

KEY = "ab" * 32
ROOMY = 10**9


class Counting(Backbone):
    """Describes a picture by its own pixels and counts how many it was shown."""

    name, options, stride, dim = "counting", FeatureOptions(), 1, 3

    def __init__(self, identity: str = "counting") -> None:
        self.identity = identity
        self.described = 0

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        tick()
        self.described += len(images)
        return images * 2


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 40, 32, generator=torch.Generator().manual_seed(seed))


def stored(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def test_only_what_is_new_is_described(tmp_path: Path) -> None:
    backbone, images = Counting(), pictures(4)
    first, hits = extract_cached(backbone, images[:3], FeatureCache(tmp_path, max_bytes=ROOMY))
    assert (hits, backbone.described) == (0, 3)
    again, hits = extract_cached(backbone, images[[3, 1, 0]], FeatureCache(tmp_path, max_bytes=ROOMY))
    assert (hits, backbone.described) == (2, 4)
    torch.testing.assert_close(first, images[:3] * 2, rtol=0, atol=0)
    torch.testing.assert_close(again, images[[3, 1, 0]] * 2, rtol=0, atol=0)


def test_without_a_cache_all_are_described() -> None:
    backbone = Counting()
    for _ in range(2):
        assert extract_cached(backbone, pictures(2), None)[1] == 0
    assert backbone.described == 4


def test_other_pictures_sizes_and_backbones_are_other_entries() -> None:
    image = pictures(1)[0]
    nearly = image.clone()
    nearly[0, 0, 0] += 1e-6
    keys = {
        feature_key(Counting(), image),
        feature_key(Counting("counting of other weights"), image),
        feature_key(Counting(), nearly),
        feature_key(Counting(), image.reshape(3, 32, 40)),
        feature_key(Counting(), image.double()),
        feature_key(DenseDescriptor(), image),
    }
    assert len(keys) == 6
    assert feature_key(DenseDescriptor(), image) == feature_key(DenseDescriptor(Compute(batch_pixels=1)), image)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_types_come_back_as_they_went(tmp_path: Path, dtype: torch.dtype) -> None:
    cache, features = FeatureCache(tmp_path, max_bytes=ROOMY), pictures(1)[0].to(dtype)
    cache.put(KEY, features.transpose(1, 2))
    found = cache.get(KEY)
    assert found is not None
    assert found.dtype is dtype
    torch.testing.assert_close(found, features.transpose(1, 2), rtol=0, atol=0)


@pytest.mark.parametrize("damage", [b"", b"\x10\0\0\0\0\0\0\0{", b"no tensors here, and long enough for a header" * 9])
def test_damaged_entries_are_no_entries(tmp_path: Path, damage: bytes) -> None:
    cache = FeatureCache(tmp_path, max_bytes=ROOMY)
    cache.put(KEY, pictures(1))
    (entry,) = stored(tmp_path)
    entry.write_bytes(damage)
    assert cache.get(KEY) is None
    assert stored(tmp_path) == []


def test_cut_entries_are_no_entries(tmp_path: Path) -> None:
    backbone, cache = Counting(), FeatureCache(tmp_path, max_bytes=ROOMY)
    extract_cached(backbone, pictures(1), cache)
    (entry,) = stored(tmp_path)
    entry.write_bytes(entry.read_bytes()[:-1])
    features, hits = extract_cached(backbone, pictures(1), cache)
    assert (hits, backbone.described) == (0, 2)
    torch.testing.assert_close(features, pictures(1) * 2)


def test_the_entries_not_used_for_longest_go_first(tmp_path: Path) -> None:
    features = torch.zeros(1000)
    size = 4200
    cache = FeatureCache(tmp_path, max_bytes=10 * size)
    keys = [f"{number:064x}" for number in range(10)]
    for age, key in enumerate(keys):
        cache.put(key, features)
        entry = tmp_path / key[:2] / f"{key}.safetensors"
        os.utime(entry, (1e9 + age, 1e9 + age))
    assert cache.get(keys[0]) is not None
    for number in range(10, 13):
        cache.put(f"{number:064x}", features)
    assert sum(entry.stat().st_size for entry in stored(tmp_path)) <= 10 * size
    assert cache.get(keys[0]) is not None
    assert cache.get(keys[1]) is None
    assert cache.get(f"{12:064x}") is not None


def test_what_is_too_large_for_the_folder_is_not_kept(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, max_bytes=4000)
    cache.put(KEY, torch.zeros(1000))
    assert stored(tmp_path) == []


def test_what_a_crash_left_is_swept_in_time(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path, max_bytes=ROOMY)
    (tmp_path / "ab").mkdir()
    old, young = tmp_path / "ab" / ".tmp-1.safetensors", tmp_path / "ab" / ".tmp-2.safetensors"
    for file in (old, young):
        file.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    cache.sweep()
    assert stored(tmp_path) == [young]


def test_a_full_disk_costs_the_entry_alone(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    with small_disk(tmp_path / "small", 200_000):
        cache = FeatureCache(tmp_path / "small", max_bytes=ROOMY)
        backbone = Counting()
        features, _ = extract_cached(backbone, torch.rand(1, 3, 200, 200), cache)
        assert features.shape == (1, 3, 200, 200)
        assert stored(tmp_path / "small") == []
        cache.put(KEY, torch.zeros(1000))
        assert cache.get(KEY) is not None


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    backbone, cache = Counting(), FeatureCache(tmp_path / "file", max_bytes=ROOMY)
    for _ in range(2):
        assert extract_cached(backbone, pictures(2), cache)[1] == 0
    assert backbone.described == 4


def hammer(folder: Path, rounds: int, mistakes: "multiprocessing.Queue[int]") -> None:
    """Put and get the same few entries in a folder too small for them, and count wrong answers."""
    cache, wrong = FeatureCache(folder, max_bytes=6 * 4200), 0
    for turn in range(rounds):
        number = turn % 9
        found = cache.get(f"{number:064x}")
        wrong += found is not None and not torch.equal(found, torch.full((1000,), float(number)))
        cache.put(f"{number:064x}", torch.full((1000,), float(number)))
    mistakes.put(wrong)


def test_many_processes_share_a_folder_and_one_may_die(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    mistakes: multiprocessing.Queue[int] = spawn.Queue()
    victim = spawn.Process(target=hammer, args=(tmp_path, 10**9, mistakes))
    others = [spawn.Process(target=hammer, args=(tmp_path, 300, mistakes)) for _ in range(2)]
    for process in (victim, *others):
        process.start()
    assert [mistakes.get(timeout=60)] == [0]
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    assert [mistakes.get(timeout=60)] == [0]
    for process in (victim, *others):
        process.join(60)
    assert victim.exitcode == -signal.SIGKILL
    hammer(tmp_path, 50, mistakes)
    assert mistakes.get(timeout=60) == 0
