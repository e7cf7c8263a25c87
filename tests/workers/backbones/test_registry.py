"""Backbones by name: real networks, random and small, in the hub's layout."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest
import timm
import torch
from safetensors.torch import save_file

from api_schemas.backbones import BACKBONE_NAMES, BACKBONES, BUILT_IN_BACKBONES, FeatureOptions
from api_schemas.weights import WeightsEntry, weights_catalogue
from tests.workers.backbones.diffusion.tiny import save_tiny
from workers.backbones.cache import feature_key
from workers.backbones.registry import BackboneProvider
from workers.backbones.weights.errors import WeightsError

AT_HAND = ("embedded", "dense_descriptor", "dinov2_vits14_reg", "dino_vits16", "dinov3_vits16", "sd15", "sd15_dift")
PICTURES = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def without_sums() -> Mapping[str, WeightsEntry]:
    """The catalogue, but for the published checksums, which random weights cannot have."""
    entries = {}
    for name, entry in weights_catalogue().items():
        files = tuple(file.model_copy(update={"sha256": None}) for file in entry.files)
        entries[name] = entry.model_copy(update={"files": files})
    return MappingProxyType(entries)


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    save_tiny(folder / "sd15")
    for name in ("dino_vits16", "dinov2_vits14_reg", "dinov3_vits16"):
        torch.manual_seed(0)
        model = timm.create_model(weights_catalogue()[name].architecture, num_classes=0)
        (folder / name).mkdir()
        save_file(model.state_dict(), folder / name / "model.safetensors")
    return folder


@pytest.fixture
def provider(weights_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackboneProvider:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("workers.backbones.weights.finding.weights_catalogue", without_sums)
    return BackboneProvider(weights_dir=weights_dir)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackboneProvider:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return BackboneProvider(weights_dir=tmp_path)


def test_every_name_is_known_and_all_but_the_built_in_need_weights() -> None:
    assert set(BACKBONES) == set(BACKBONE_NAMES)
    assert [name for name, info in BACKBONES.items() if not info.weights] == list(BUILT_IN_BACKBONES)


def test_what_lies_in_the_folder_is_at_hand(provider: BackboneProvider) -> None:
    assert sorted(provider.available()) == sorted(AT_HAND)
    assert provider.resolve("auto") == "dinov2_vits14_reg"


@pytest.mark.parametrize("name", AT_HAND)
def test_every_kind_is_loaded_by_name_and_keeps_the_contract(provider: BackboneProvider, name: str) -> None:
    backbone = provider.get(name)
    ticks: list[None] = []
    features = backbone.extract(PICTURES, tick=lambda: ticks.append(None))
    assert (backbone.name, backbone.stride) == (name, BACKBONES[name].stride)
    assert backbone.options == BACKBONES[name].defaults
    cells = (round(64 / backbone.stride), round(96 / backbone.stride))
    assert features.shape == (2, backbone.dim, *cells)
    assert features.dtype is torch.float32
    assert features.isfinite().all()
    assert ticks
    alone = backbone.extract(PICTURES[1:])
    torch.testing.assert_close(features[1:], alone, rtol=1e-4, atol=1e-4)
    assert name in backbone.identity


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dino_vits16", {"layer": 3, "facet": "query", "stride": 16}),
        ("dino_vits16", {"facet": "attention"}),
        ("dinov3_vits16", {"facet": "value", "log_bins": True, "stride": 16}),
        ("sd15_dift", {"layer": 2, "timestep": 51, "ensemble": 1, "prompt": "a cat"}),
        ("sd15", {"timestep": 100, "prompt": "a cat"}),
    ],
)
def test_options_change_what_is_read_and_the_key(
    provider: BackboneProvider, name: str, options: dict[str, object]
) -> None:
    usual, other = provider.get(name), provider.get(name, FeatureOptions.model_validate(options))
    assert {option: getattr(other.options, option) for option in options} == options
    assert feature_key(usual, PICTURES[0]) != feature_key(other, PICTURES[0])
    features = other.extract(PICTURES)
    assert features.shape[:2] == (2, other.dim)
    assert features.shape != usual.extract(PICTURES).shape or not torch.equal(features, usual.extract(PICTURES))


def test_weights_are_opened_by_name_for_a_method_and_told_when_they_are_not_here(
    provider: BackboneProvider, weights_dir: Path
) -> None:
    assert provider.available_weights() == ["dino_vits16", "dinov2_vits14_reg", "dinov3_vits16", "sd15"]
    opened = provider.weights("dino_vits16")
    assert (opened.name, opened.path) == ("dino_vits16", weights_dir / "dino_vits16")
    with pytest.raises(WeightsError, match=r"'vgg16'.*553 MB.*timm/vgg16\.tv_in1k.*weights pull vgg16"):
        provider.weights("vgg16")


def test_networks_are_loaded_once(provider: BackboneProvider, weights_dir: Path, tmp_path: Path) -> None:
    provider.get("dino_vits16")
    hidden = (weights_dir / "dino_vits16").rename(tmp_path / "hidden")
    try:
        assert provider.get("dino_vits16", FeatureOptions(layer=1)).options.layer == 1
        with pytest.raises(WeightsError):
            BackboneProvider(weights_dir=weights_dir).get("dino_vits16")
    finally:
        hidden.rename(weights_dir / "dino_vits16")


def test_without_weights_the_built_in_backbones_remain(bare: BackboneProvider) -> None:
    assert bare.available() == list(BUILT_IN_BACKBONES)
    assert bare.available_weights() == []
    assert bare.get("auto").name == "embedded"


def test_missing_weights_say_what_and_how_large(bare: BackboneProvider) -> None:
    with pytest.raises(
        WeightsError, match=r"dino_vits8.*87 MB.*timm/vit_small_patch8_224\.dino.*weights pull dino_vits8"
    ):
        bare.get("dino_vits8")
    with pytest.raises(WeightsError, match=r"dinov2_vitb14.*weights pull"):
        bare.get("sd15+dinov2_vitb14")


def test_what_there_is_not_is_refused_with_what_there_is(provider: BackboneProvider) -> None:
    with pytest.raises(
        ValueError, match=r"no backbone is called 'resnet'; use one of auto, embedded, dense_descriptor"
    ):
        provider.get("resnet")
    with pytest.raises(ValueError, match=r"has no layer 12; it has 0 to 11"):
        provider.get("dino_vits16", FeatureOptions(layer=12))
    with pytest.raises(ValueError, match=r"16 pixels, which 3 does not divide; use 1, 2, 4, 8, 16"):
        provider.get("dino_vits16", FeatureOptions(stride=3))
    with pytest.raises(ValueError, match=r"'sd15' has no facet; it takes prompt, timestep"):
        provider.get("sd15", FeatureOptions(facet="key"))


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 3, 32, 520), (1, 1, 64, 64), (3, 64, 64)])
def test_pictures_that_cannot_be_described(provider: BackboneProvider, shape: tuple[int, ...]) -> None:
    for name in ("embedded", "dense_descriptor", "dino_vits16", "sd15_dift"):
        with pytest.raises(ValueError, match="images"):
            provider.get(name).extract(torch.zeros(shape))
