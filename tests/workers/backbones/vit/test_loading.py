"""Checkpoints in the hub's layout, found by name and loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.testing import assert_close

from api_schemas.backbones import BACKBONES
from api_schemas.weights import WeightsEntry, WeightsFile, weights_catalogue
from tests.workers.backbones.vit.tiny import pictures
from workers.backbones.base import Compute
from workers.backbones.vit.backbone import VitBackbone
from workers.backbones.vit.network import WEIGHTS_FILE, View, VitNetwork, load_vit
from workers.backbones.weights.folder import WeightsError, WeightsFolder, open_entry, open_weights

TINY = WeightsEntry(
    hub="congeal/tiny",
    license="Apache-2.0",
    architecture="test_vit.r160_in1k",
    files=(WeightsFile(path=WEIGHTS_FILE, bytes=1_000_000),),
)


def put(folder: Path, tensors: dict[str, Tensor]) -> None:
    folder.mkdir(parents=True)
    save_file(tensors, folder / WEIGHTS_FILE)


def random_tensors(architecture: str, seed: int = 0) -> dict[str, Tensor]:
    with torch.device("meta"):
        wanted = timm.create_model(architecture, pretrained=False, num_classes=0).state_dict()
    generator = torch.Generator().manual_seed(seed)
    return {name: 0.02 * torch.randn(tensor.shape, generator=generator) for name, tensor in wanted.items()}


def opened(name: str, folder: Path) -> WeightsFolder:
    """Open an entry of the catalogue, whose published checksum random weights cannot have."""
    entry = weights_catalogue()[name]
    if all(file.sha256 is None for file in entry.files):
        return open_weights(name, folder)
    files = tuple(file.model_copy(update={"sha256": None}) for file in entry.files)
    return open_entry(name, entry.model_copy(update={"files": files}), folder)


@pytest.mark.parametrize("name", ["dino_vits8", "dinov2_vits14_reg", "dinov3_vits16"])
def test_full_size_networks_load_by_name(tmp_path: Path, name: str) -> None:
    tensors = random_tensors(str(weights_catalogue()[name].architecture))
    put(tmp_path / name, tensors)
    network = load_vit(opened(name, tmp_path), Compute())
    for key, tensor in network.model.state_dict().items():
        assert torch.equal(tensor, tensors[key])
    info = BACKBONES[name]
    assert (network.patch, len(network.blocks)) == (info.patch, info.layers)
    backbone = VitBackbone(network, name=name, options=info.defaults, compute=Compute())
    features = backbone.extract(pictures(1, 64, 100))
    assert features.shape == (1, 384, round(64 / info.stride), round(100 / info.stride))
    assert torch.isfinite(features).all()


@torch.no_grad()
def test_constants_that_no_file_holds_are_made(tmp_path: Path) -> None:
    architecture = "vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m"
    tensors = random_tensors(architecture)
    put(tmp_path / "tiny", tensors)
    entry = TINY.model_copy(update={"architecture": architecture})
    network = load_vit(open_entry("tiny", entry, tmp_path), Compute())
    plain = timm.create_model(architecture, pretrained=False, num_classes=0).eval()
    plain.load_state_dict(tensors)
    inputs = pictures(1, 64, 48)
    expected = plain.forward_intermediates(inputs, indices=1, norm=False, intermediates_only=True)[0]
    last = View(len(network.blocks) - 1, "token")
    assert_close(network.describe(inputs, [last], stride=16)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return random_tensors(str(TINY.architecture))


def load_tiny(folder: Path, compute: Compute | None = None) -> VitNetwork:
    return load_vit(open_entry("tiny", TINY, folder), compute or Compute())


def test_the_network_is_frozen_and_in_the_wanted_precision(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    put(tmp_path / "tiny", tensors)
    network = load_tiny(tmp_path, Compute(dtype=torch.bfloat16))
    assert not network.model.training
    assert {parameter.dtype for parameter in network.model.parameters()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in network.model.parameters())


def test_the_digest_tells_weights_apart(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    put(tmp_path / "a" / "tiny", tensors)
    put(tmp_path / "b" / "tiny", random_tensors(str(TINY.architecture), seed=1))
    assert load_tiny(tmp_path / "a").digest != load_tiny(tmp_path / "b").digest


def without_norm(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != "norm.bias"}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without_norm, "1 missing: norm.bias"),
        (lambda tensors: {**tensors, "head.weight": torch.zeros(3)}, "1 unexpected: head.weight"),
        (lambda tensors: {**tensors, "norm.bias": torch.zeros(3)}, "1 of another shape: norm.bias"),
        (lambda tensors: {f"model.{name}": tensor for name, tensor in tensors.items()}, r"missing: .*, \.\.\.; "),
    ],
)
def test_weights_of_another_network_are_refused(
    tmp_path: Path, tensors: dict[str, Tensor], change: Callable[[dict[str, Tensor]], dict[str, Tensor]], fault: str
) -> None:
    put(tmp_path / "tiny", change(tensors))
    with pytest.raises(WeightsError, match=f"tiny.*do not fit their network: .*{fault}"):
        load_tiny(tmp_path)


def test_a_pickle_is_refused(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    (tmp_path / "tiny").mkdir()
    torch.save(tensors, tmp_path / "tiny" / WEIGHTS_FILE)
    with pytest.raises(WeightsError, match="are a pickle"):
        load_tiny(tmp_path)


def test_a_truncated_file_is_refused(tmp_path: Path, tensors: dict[str, Tensor]) -> None:
    put(tmp_path / "tiny", tensors)
    path = tmp_path / "tiny" / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(WeightsError, match="no whole safetensors file"):
        load_tiny(tmp_path)


@pytest.mark.parametrize("architecture", [None, "no_such_net", "resnet18"])
def test_architectures_that_are_no_transformer_are_refused(tmp_path: Path, architecture: str | None) -> None:
    put(tmp_path / "tiny", {"a": torch.zeros(1)})
    entry = TINY.model_copy(update={"architecture": architecture})
    with pytest.raises(WeightsError, match=r"architecture that timm has|belong to a ResNet"):
        load_vit(open_entry("tiny", entry, tmp_path), Compute())
