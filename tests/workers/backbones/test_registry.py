from pathlib import Path

import pytest

from api_schemas.backbones import BACKBONE_NAMES, WEIGHT_FREE_BACKBONE
from workers.backbones.registry import BackboneProvider
from workers.backbones.weights import WEIGHTS, WeightsError


@pytest.fixture
def provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackboneProvider:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return BackboneProvider(weights_dir=tmp_path)


def test_every_name_but_the_weight_free_one_has_weights() -> None:
    assert {*WEIGHTS, WEIGHT_FREE_BACKBONE} == set(BACKBONE_NAMES)


def test_without_weights_the_descriptor_remains(provider: BackboneProvider) -> None:
    assert provider.available() == [WEIGHT_FREE_BACKBONE]
    assert provider.get("auto").name == WEIGHT_FREE_BACKBONE


def test_missing_weights_say_what_and_how_large(provider: BackboneProvider) -> None:
    with pytest.raises(WeightsError, match=r"dino_vits8.*timm/vit_small_patch8_224\.dino.*87 MB"):
        provider.get("dino_vits8")


def test_unknown_name_is_refused(provider: BackboneProvider) -> None:
    with pytest.raises(ValueError, match="no backbone is called 'resnet'"):
        provider.get("resnet")
