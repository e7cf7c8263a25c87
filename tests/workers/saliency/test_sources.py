import numpy as np
import pytest
import torch

from api_schemas.backbones import FeatureOptions
from api_schemas.saliency import has_class_attention, saliency_fault
from tests.workers.backbones.vit.tiny import DEPTH, options, tiny_backbone
from tests.workers.saliency.planted import Planted, overlap, planted
from workers.backbones.registry import BackboneProvider
from workers.imaging.frames import WorkingFrames, letterboxed
from workers.saliency.sources import attention_prior, class_attention, set_masks


def framed(drawn: Planted) -> tuple[WorkingFrames, list[str]]:
    pictures = [(image * 255).byte().permute(1, 2, 0).numpy() for image in drawn.images]
    return letterboxed(pictures, drawn.images.shape[-1], "cpu"), [f"{index}.png" for index in range(len(pictures))]


def test_none_means_the_whole_pictures() -> None:
    drawn = planted()
    assert set_masks("none", drawn.features, *framed(drawn)) is None


def test_cosegmentation_finds_the_object() -> None:
    drawn = planted()
    masks = set_masks("cosegmentation", drawn.features, *framed(drawn), prior=lambda _: drawn.prior)
    assert masks is not None
    assert overlap(masks, drawn.truth).min() > 0.9


def test_user_masks_are_taken() -> None:
    drawn = planted()
    given = [np.kron(truth[0].numpy() > 0, np.ones((4, 4), dtype=bool)) for truth in drawn.truth]
    masks = set_masks("user", drawn.features, *framed(drawn), given=given)
    assert masks is not None
    torch.testing.assert_close(masks, drawn.truth)


def test_cosegmentation_without_a_result_is_refused() -> None:
    drawn = planted()
    with pytest.raises(ValueError, match="nothing that stands out"):
        set_masks("cosegmentation", drawn.features, *framed(drawn), prior=lambda _: torch.zeros_like(drawn.prior))
    with pytest.raises(ValueError, match="needs a saliency prior"):
        set_masks("cosegmentation", drawn.features, *framed(drawn))


@pytest.mark.parametrize("name", ["embedded", "dense_descriptor", "sd15", "sd15_dift", "sd15+dinov2_vitb14"])
def test_a_backbone_without_class_attention_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"backbone '{name.replace('+', '.')}' does not have.*dino_vits8"):
        class_attention(BackboneProvider(), name)


def test_which_backbones_can() -> None:
    assert has_class_attention("dinov2_vitb14_reg")
    assert not has_class_attention("unheard of")
    assert saliency_fault("cosegmentation", "dino_vits8") is None
    assert saliency_fault("user", "dense_descriptor") is None
    assert saliency_fault("none", "sd15") is None


def test_a_transformers_attention_is_a_prior() -> None:
    backbone = tiny_backbone(options(DEPTH - 1, "attention", 8))
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    prior = attention_prior(backbone)(pictures)
    assert prior.shape == (2, 1, 8, 8)
    torch.testing.assert_close(prior.amin(dim=(1, 2, 3)), torch.zeros(2))
    torch.testing.assert_close(prior.amax(dim=(1, 2, 3)), torch.ones(2))
    assert isinstance(backbone.options, FeatureOptions)
