"""The backbone that comes along: its weights, its contract, and that it knows more than edges."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from torch.testing import assert_close

from api_schemas.backbones import BACKBONES
from workers.backbones.base import Compute
from workers.backbones.embedded import (
    STRIDE,
    Embedded,
    EmbeddedBackbone,
    all_stages,
    fold,
    load_embedded,
    resized,
)
from workers.backbones.embedded_network import EmbeddedNetwork
from workers.backbones.weights.built_in import EMBEDDED_WEIGHTS, check_built_in
from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.tensors import read_tensors

PACKAGES = ("alignment", "api_schemas", "storage", "workers")


def noise_picture(height: int, width: int, *, seed: int = 0) -> Tensor:
    coarse = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(seed))
    return interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)


@pytest.fixture(scope="module")
def backbone() -> EmbeddedBackbone:
    return EmbeddedBackbone(load_embedded(Compute()), Compute())


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 64), (96, 130), (33, 257), (600, 400), (32, 512)])
def test_cells_cover_any_size_with_unit_vectors(backbone: EmbeddedBackbone, height: int, width: int) -> None:
    features = backbone.extract(noise_picture(height, width))
    assert backbone.dim == BACKBONES[backbone.name].channels
    assert features.shape == (1, backbone.dim, round(height / STRIDE), round(width / STRIDE))
    assert_close(features.norm(dim=1), torch.ones_like(features[:, 0]))


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 3, 32, 520), (1, 1, 64, 64), (3, 64, 64)])
def test_pictures_that_cannot_be_described(backbone: EmbeddedBackbone, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="images"):
        backbone.extract(torch.zeros(shape))


def test_each_image_is_described_by_itself(backbone: EmbeddedBackbone) -> None:
    images = torch.cat([noise_picture(64, 64, seed=1), noise_picture(64, 64, seed=2)])
    assert_close(backbone.extract(images)[1:], backbone.extract(images[1:]), atol=1e-5, rtol=0)


def test_a_grey_picture_and_a_black_one_are_described(backbone: EmbeddedBackbone) -> None:
    grey = noise_picture(96, 96).mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    for picture in (grey, torch.zeros(1, 3, 64, 64)):
        assert backbone.extract(picture).isfinite().all()


def test_larger_copy_of_a_picture_gets_the_same_features(backbone: EmbeddedBackbone) -> None:
    image = noise_picture(256, 192)
    large = interpolate(image, (512, 384), mode="bicubic")
    pooled = normalize(torch.nn.functional.avg_pool2d(backbone.extract(large), 2), dim=1)
    assert (backbone.extract(image) * pooled).sum(dim=1).mean() > 0.97


@pytest.mark.parametrize("cells", [(32, 24), (9, 11)])
def test_projecting_early_changes_nothing(cells: tuple[int, int]) -> None:
    torch.manual_seed(0)
    embedded = Embedded().eval().requires_grad_(False)
    embedded.mean.normal_()
    embedded.projection.normal_()
    images = noise_picture(128, 96)
    places = all_stages(embedded.network, images, cells).permute(0, 2, 3, 1) - embedded.mean
    late = normalize(places @ embedded.projection.T, dim=-1).permute(0, 3, 1, 2)
    assert_close(embedded(images, cells), late, atol=1e-5, rtol=0)


def test_batch_normalisation_folds_into_the_convolutions() -> None:
    torch.manual_seed(0)
    network = EmbeddedNetwork()
    network.train()(torch.randn(4, 3, 64, 64))  # running statistics other than 0 and 1
    network.eval().requires_grad_(False)
    images = noise_picture(128, 96)
    before = all_stages(network, images, (16, 12))
    fold(network)
    assert not [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert_close(all_stages(network, images, (16, 12)), before, atol=1e-4, rtol=0)


def test_the_whole_picture_is_looked_at_in_multiples_of_sixteen() -> None:
    assert resized(torch.zeros(1, 3, 300, 200), 128).shape == (1, 3, 128, 80)
    assert resized(torch.zeros(1, 3, 32, 512), 192).shape == (1, 3, 16, 192)


def test_the_shipped_file_is_small_and_fits_the_network() -> None:
    assert check_built_in().stat().st_size <= 12e6
    tensors = read_tensors(EMBEDDED_WEIGHTS)
    assert {name: value.shape for name, value in tensors.items()} == {
        name: value.shape for name, value in Embedded().state_dict().items()
    }
    assert all(value.isfinite().all() for value in tensors.values())


def test_missing_and_changed_weights_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere\.safetensors are missing; install congeal again"):
        check_built_in(tmp_path / "nowhere.safetensors")
    whole = EMBEDDED_WEIGHTS.read_bytes()
    changed = tmp_path / "embedded.safetensors"
    changed.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(WeightsError, match=r"embedded\.safetensors were changed \(SHA-256 [0-9a-f]{64}, not"):
        check_built_in(changed)


@pytest.mark.parametrize(("damage", "complaint"), [("cut", "were changed"), ("removed", "are missing")])
def test_a_worker_with_damaged_weights_does_not_start(tmp_path: Path, damage: str, complaint: str) -> None:
    root = EMBEDDED_WEIGHTS.parents[2]
    for package in PACKAGES:
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    weights = tmp_path / EMBEDDED_WEIGHTS.relative_to(root)
    if damage == "cut":
        weights.write_bytes(weights.read_bytes()[:1000])
    else:
        weights.unlink()
    command = [sys.executable, "-m", "workers"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert f"{weights} {complaint}" in done.stdout + done.stderr
