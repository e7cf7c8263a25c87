"""What a user gets out of an alignment, on sets whose truth is known."""

from functools import cache

import numpy as np
import pytest
import torch

from alignment.atlas import Atlas
from api_schemas.methods.neural_congealing import NeuralCongealingParams
from tests.workers.methods.recorder import Recorder
from workers.backbones.registry import BackboneProvider
from workers.evaluation.synthetic import sample_set
from workers.evaluation.template_set import template_set
from workers.geometry.letterbox import Letterbox
from workers.geometry.similarity import similarity_matrix
from workers.imaging.frames import letterboxed
from workers.methods.atlas.agreement import confirmed_outliers
from workers.methods.base import InputImage, MethodResult
from workers.methods.features import Heartbeat
from workers.methods.neural_congealing.direct import align
from workers.methods.neural_congealing.inputs import DescribedSet
from workers.methods.neural_congealing.options import DirectOptions
from workers.methods.neural_congealing.outcome.assembly import outcome
from workers.methods.neural_congealing.outcome.figures import pixel_matrix
from workers.methods.neural_congealing.pipeline import NeuralCongealing

QUICK = DirectOptions(similarity_steps=30, flow_steps=30, atlas_size=64)
FAST_JOB = NeuralCongealingParams(
    backbone="dense_descriptor", working_size=128, atlas_size=64, similarity_steps=12, flow_steps=12
)


@cache
def congealed(
    *,
    template: str = "creature",
    mirrored: tuple[int, ...] = (),
    without_object: int | None = None,
    feature_noise: float = 0.0,
    masked: bool = True,
) -> MethodResult:
    """The template set with its own features, at working size 128."""
    truth = template_set(template, mirrored=mirrored, without_object=without_object, feature_noise=feature_noise)
    pictures = [(rgb.transpose(1, 2, 0) * 255).round().astype(np.uint8) for rgb in truth.images]
    features, masks = torch.from_numpy(truth.features), torch.from_numpy(truth.masks)
    described = DescribedSet(
        backbone=BackboneProvider().get("dense_descriptor"),
        frames=letterboxed(pictures, 128, "cpu"),
        features=features,
        mirrored_features=features.flip(-1),
        masks=masks if masked else None,
        valid=torch.ones_like(masks),
        looks_again=False,
    )
    result = align(features, features.flip(-1), described.masks, described.valid, QUICK)
    with torch.no_grad():
        return outcome(result, described, Heartbeat(Recorder().run()))


def column(result: MethodResult, name: str) -> np.ndarray:
    return np.array([score[name] for score in result.scores])


def atlas_of(result: MethodResult) -> Atlas:
    assert isinstance(result.form, Atlas)
    return result.form


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(
    ("template", "mirrored", "noise"),
    [("creature", (), 0.0), ("creature", (2, 5), 0.0), ("creature", (), 1.0), ("beetle", (), 0.0)],
)
def test_clean_sets_score_high_and_accuse_nobody(
    template: str, mirrored: tuple[int, ...], noise: float, *, masked: bool
) -> None:
    result = congealed(template=template, mirrored=mirrored, feature_noise=noise, masked=masked)
    assert column(result, "alignment_score").min() > 0.8
    assert column(result, "alignment_score").max() <= 1
    assert not column(result, "outlier").any()


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_picture_without_the_object_is_singled_out(noise: float, *, masked: bool) -> None:
    result = congealed(without_object=3, feature_noise=noise, masked=masked)
    scores = column(result, "alignment_score")
    assert scores[3] < 0.3
    assert np.delete(scores, 3).min() > 0.8
    assert column(result, "outlier").nonzero()[0].tolist() == [3]
    assert result.set_scores["outliers"] == 1


def fish_job(*, foreign: bool) -> MethodResult:
    images = [InputImage(image.name, image.rgb) for image in sample_set(count=6).images]
    if foreign:
        images[2] = InputImage("backdrop", sample_set(seed=8, count=3, without_object=(2,)).images[2].rgb)
    return NeuralCongealing(BackboneProvider()).run(images, FAST_JOB, Recorder().run())


@pytest.mark.parametrize("foreign", [False, True])
def test_backdrop_among_drawn_fish_is_singled_out(*, foreign: bool) -> None:
    result = fish_job(foreign=foreign)
    assert column(result, "outlier").nonzero()[0].tolist() == ([2] if foreign else [])
    if foreign:
        scores = column(result, "alignment_score")
        assert scores[2] < 0.5 < np.delete(scores, 2).min()


def test_outliers_are_always_the_minority() -> None:
    nobody = torch.zeros(5, dtype=torch.bool)
    assert confirmed_outliers(nobody, torch.tensor([1.0, 0.9, 0.95, 0.5, 1.0])).tolist() == [False] * 3 + [True, False]
    assert not confirmed_outliers(nobody, torch.tensor([1.0, 0.85, 0.7, 0.62, 0.5])).any()
    assert not confirmed_outliers(nobody, torch.tensor([1.0, 0.1, 0.1, 0.1, 1.0])).any()
    suspects = torch.tensor([True, False, True, False, False])
    assert confirmed_outliers(suspects, torch.tensor([0.95, 1.0, 0.7, 0.7, 1.0])).nonzero().flatten().tolist() == [2]


def test_matrices_lead_from_the_atlas_to_uploaded_pixels() -> None:
    result = congealed(mirrored=(2, 5))
    flows = result.image_tensors["residual_flow"]
    size = flows[0].shape[0]
    axis = (np.arange(size) + 0.5) / size
    cells = np.stack(np.meshgrid(axis, axis), axis=-1)
    for index, score in enumerate(result.scores):
        places = cells + flows[index] / 2
        carried = np.concatenate([places, np.ones((size, size, 1))], axis=-1) @ np.array(score["matrix_px"]).T
        np.testing.assert_allclose(carried, atlas_of(result).from_canonical[index], atol=1e-3)
        matrix = np.array(score["matrix"])
        assert np.hypot(matrix[0, 0], matrix[1, 0]) * 256 == pytest.approx(score["side_px"])
        assert np.sign(np.linalg.det(np.array(score["matrix_px"])[:, :2])) == (-1 if score["mirrored"] else 1)
    assert column(result, "mirrored").nonzero()[0].tolist() == [2, 5]


def test_pixel_matrix_of_a_letterboxed_picture() -> None:
    identity = similarity_matrix(torch.tensor([0.0, 1.0, 0.0, 0.0]))
    matrix = pixel_matrix(identity, Letterbox(200, 100, 50), mirrored=False)
    expected = torch.tensor([[200.0, 0.0, 0.0], [0.0, 100 * 50 / 25, -100 * 12 / 25]])
    torch.testing.assert_close(matrix, expected.double())
    turned = pixel_matrix(identity, Letterbox(200, 100, 50), mirrored=True)
    assert turned[0].tolist() == pytest.approx([-200.0, 0.0, 200.0])


def test_congealed_masks_look_alike_as_pictures_do_not() -> None:
    result, truth = congealed(), template_set()
    masks = np.stack(result.image_pictures["congealed_mask"]) / 255.0
    assert masks.shape == (8, 256, 256)

    def spread(values: np.ndarray) -> float:
        return float(values.std(axis=0).mean())

    assert spread(masks) < 0.3 * spread(truth.image_masks[:, 0])
    assert "congealed_mask" not in congealed(masked=False).image_pictures


def test_saliency_in_the_images_is_where_the_object_is() -> None:
    result, truth = congealed(), template_set()
    for index, picture in enumerate(result.image_pictures["image_saliency"]):
        assert picture.shape == atlas_of(result).to_canonical[index].shape[:2]
        assert picture.dtype == np.uint8
        mask = truth.image_masks[index, 0, ::2, ::2] > 0
        assert picture[mask].mean() > 200
        assert picture[~mask].mean() < 60


def test_feature_pictures_agree_on_the_object() -> None:
    result = congealed(masked=False)
    shown = np.stack(result.image_pictures["congealed_pca"]).astype(float)
    assert shown.shape == (8, 256, 256, 3)
    assert result.pictures["pictures/atlas_pca"].shape == (256, 256, 3)
    saliency = result.pictures["pictures/atlas_saliency"][::2, ::2, 0] > 200
    from_atlas = np.abs(shown - result.pictures["pictures/atlas_pca"])[:, saliency].mean()
    assert from_atlas < 0.25 * np.abs(shown[:, saliency] - shown[:, saliency].mean(axis=(0, 1))).mean()
    first = np.stack(result.image_pictures["congealed_pca_first"])
    assert first[:, saliency].std(axis=1).mean() > 20
    assert first[:, saliency].std(axis=0).mean() < 15


def test_set_figures_and_tensors() -> None:
    result = congealed()
    assert set(result.set_scores) == {"images", "outliers", "alignment_score", "retained_energy"}
    assert result.set_scores["images"] == 8
    assert 0.9 <= result.set_scores["retained_energy"] <= 1
    assert result.tensors["atlas_saliency"].shape == (64, 64)
    assert all(flow.shape == (64, 64, 2) for flow in result.image_tensors["residual_flow"])


def test_described_set_of_other_images_is_refused() -> None:
    truth = template_set()
    features, valid = torch.from_numpy(truth.features), torch.ones(8, 1, 64, 64)
    frames = letterboxed([np.zeros((64, 64, 3), np.uint8)] * 8, 64, "cpu")
    backbone = BackboneProvider().get("dense_descriptor")
    described = DescribedSet(backbone, frames, features, None, valid[:5], valid, looks_again=False)
    result = align(features, None, None, valid, DirectOptions(similarity_steps=1, flow_steps=0, atlas_size=32))
    with pytest.raises(ValueError, match="masks of 5 images for an alignment of 8"):
        outcome(result, described, Heartbeat(Recorder().run()))
