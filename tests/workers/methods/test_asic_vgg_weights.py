"""VGG-16 from checkpoints in the hub's layout."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from timm.models.vgg import VGG
from torch import Tensor
from torch.testing import assert_close

from workers.backbones.registry import BackboneProvider
from workers.backbones.weights.errors import WeightsError
from workers.methods.asic.network.perceptual import perceptual_distance
from workers.methods.asic.network.vgg_weights import WEIGHTS_FILE, load_vgg

TINY = (4, 4, "M", 8, 8, "M", 16, 16, 16, "M", 32, 32, 32, "M", 32, 32, 32, "M")
LAST_OF_STAGES = (3, 8, 15, 22, 29)
IMAGENET_MEAN, IMAGENET_STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
PICTURES = torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(1))

Tensors = dict[str, Tensor]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def features() -> torch.nn.Module:
    """The convolutions of timm's own VGG-16, a sixteenth as wide, with random weights."""
    with torch.device("meta"):
        network = VGG(list(TINY)).features
    network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=generator)
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def tensors(features: torch.nn.Module) -> Tensors:
    """A whole file's tensors, with a classifier that is of no use here."""
    named = {f"features.{name}": tensor for name, tensor in features.state_dict().items()}
    return named | {"pre_logits.fc1.weight": torch.zeros(5, 32, 7, 7), "head.fc.bias": torch.zeros(3)}


def provider(weights_dir: Path, tensors: Tensors) -> BackboneProvider:
    (weights_dir / "vgg16").mkdir()
    save_file(tensors, weights_dir / "vgg16" / WEIGHTS_FILE)
    return BackboneProvider(weights_dir=weights_dir)


def test_a_method_gets_the_features_that_timm_computes_from_pictures_normalised_for_imagenet(
    tmp_path: Path, tensors: Tensors, features: torch.nn.Module
) -> None:
    network = load_vgg(provider(tmp_path, tensors).weights("vgg16"))
    x = (PICTURES - IMAGENET_MEAN[:, None, None]) / IMAGENET_STD[:, None, None]
    expected = []
    for index, layer in enumerate(features.children()):
        x = layer(x)
        if index in LAST_OF_STAGES:
            expected.append(x.clone())
    found = network(2 * PICTURES - 1)
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert float(theirs.std()) > 0
        assert_close(ours, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))


def test_the_network_is_frozen_and_its_distance_reaches_the_pictures(tmp_path: Path, tensors: Tensors) -> None:
    halves = {name: tensor.half() for name, tensor in tensors.items()}
    network = load_vgg(provider(tmp_path, halves).weights("vgg16"))
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in network.parameters())
    picture = (2 * PICTURES[:1] - 1).requires_grad_()
    perceptual_distance(network, picture, 2 * PICTURES[1:] - 1).backward()  # type: ignore[no-untyped-call]
    assert picture.grad is not None
    assert float(picture.grad.norm()) > 0


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without("features.28.bias"), r"1 missing: features\.28\.bias;"),
        (without("features.0.weight"), r"1 missing: features\.0\.weight; .* of another shape: features\.0\.bias"),
        (lambda _: {"head.fc.bias": torch.zeros(3)}, r"26 missing: features\.0\.bias, .*, \.\.\.;"),
        (lambda tensors: tensors | {"features.7.bias": torch.zeros(9)}, r"1 of another shape: features\.7\.bias;"),
        (lambda tensors: tensors | {"features.0.weight": torch.tensor(1.0)}, r"of another shape: features\.0\.bias"),
        (lambda tensors: tensors | {"features.30.bias": torch.zeros(32)}, r"1 unexpected: features\.30\.bias;"),
        (lambda tensors: {f"vgg.{name}": tensor for name, tensor in tensors.items()}, "26 missing: "),
    ],
)
def test_weights_of_another_network_are_refused_by_the_names_in_the_file(
    tmp_path: Path, tensors: Tensors, change: Callable[[Tensors], Tensors], fault: str
) -> None:
    folder = provider(tmp_path, change(tensors)).weights("vgg16")
    with pytest.raises(WeightsError, match=rf"vgg16/model\.safetensors do not fit their network: .*{fault}"):
        load_vgg(folder)
