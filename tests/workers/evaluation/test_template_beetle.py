import numpy as np
import pytest

from workers.evaluation.template_beetle import BEETLE
from workers.evaluation.template_set import TemplateSet, template_set

CLEAN = template_set("beetle")
PART_OF = {
    "front": "head",
    "waist": "body",
    "middle": "body",
    "rear": "body",
    "left_wing_tip": "left_wing",
    "right_wing_tip": "right_wing",
    "left_feeler_tip": "feelers",
    "right_feeler_tip": "feelers",
}


def features_at(truth: TemplateSet, index: int, template: np.ndarray) -> np.ndarray:
    cells = (truth.to_image(index, template) / 4).astype(int)
    return truth.features[index][:, cells[:, 1], cells[:, 0]]


def test_ten_pictures_with_all_points_inside() -> None:
    assert CLEAN.images.shape == (10, 3, 256, 256)
    assert CLEAN.features.shape == (10, 32, 64, 64)
    assert CLEAN.keypoints.shape == (10, 14, 2)
    assert CLEAN.keypoints.min() > 8
    assert CLEAN.keypoints.max() < 248
    assert 0 <= CLEAN.images.min() < CLEAN.images.max() <= 1
    shares = CLEAN.image_masks.mean(axis=(1, 2, 3))
    assert 0.05 < shares.min() < shares.max() < 0.25


def test_keypoints_lie_on_their_parts() -> None:
    names = list(BEETLE.keypoints)
    member = BEETLE.parts(BEETLE.points[:, 0], BEETLE.points[:, 1])
    for index, name in enumerate(names):
        part = PART_OF.get(name, "legs")
        assert member[BEETLE.part_names.index(part), index] == 1, name
    assert member.sum(axis=1).min() > 0


def test_keypoints_lie_on_the_object_in_the_pictures() -> None:
    for index in range(10):
        column, row = np.floor(CLEAN.keypoints[index]).astype(int).T
        assert CLEAN.image_masks[index, 0, row, column].all()


@pytest.mark.parametrize("amplitude", [0.0, 0.05, 0.1, 0.25])
def test_warps_agree_both_ways_and_keep_orientation(amplitude: float) -> None:
    truth = template_set("beetle", amplitude=amplitude)
    axis = np.linspace(-0.7, 0.7, 29)
    template = np.stack(np.meshgrid(axis, axis), axis=-1)
    for index in range(10):
        pixels = truth.to_image(index, template)
        np.testing.assert_allclose(truth.to_template(index, pixels), template, atol=1e-6)
        along_u, along_v = np.diff(pixels, axis=1)[:-1], np.diff(pixels, axis=0)[:, :-1]
        assert (along_u[..., 0] * along_v[..., 1] - along_u[..., 1] * along_v[..., 0]).min() > 0


def test_features_agree_where_the_template_point_does() -> None:
    template = np.array([(-0.1, 0.02), (0.1, 0.03), (-0.2, -0.04), (0.42, 0.02), (-0.12, -0.25)])
    for other in (2, 5, 7):
        here = features_at(CLEAN, 0, template)
        gap = np.linalg.norm(here - features_at(CLEAN, other, template), axis=0).mean()
        elsewhere = np.linalg.norm(here - features_at(CLEAN, other, template + 0.2), axis=0).mean()
        assert gap < 0.4 * elsewhere


def test_transfer_carries_keypoints() -> None:
    np.testing.assert_allclose(CLEAN.transfer(2, 6, CLEAN.keypoints[2]), CLEAN.keypoints[6], atol=1e-3)


def test_mirrored_pictures_are_exact_mirrors() -> None:
    truth = template_set("beetle", mirrored=(9,))
    for name in ("images", "features", "masks", "image_masks"):
        np.testing.assert_array_equal(getattr(truth, name)[9], getattr(CLEAN, name)[9][..., ::-1])
        np.testing.assert_array_equal(getattr(truth, name)[8], getattr(CLEAN, name)[8])
    np.testing.assert_allclose(truth.keypoints[9, :, 0], 256 - CLEAN.keypoints[9, :, 0], atol=1e-4)
    np.testing.assert_allclose(truth.to_template(9, truth.keypoints[9]), BEETLE.points, atol=1e-5)


def test_picture_without_the_object_has_no_truth() -> None:
    truth = template_set("beetle", without_object=9)
    assert not truth.masks[9].any()
    assert not truth.visible[9].any()
    assert np.isnan(truth.keypoints[9]).all()
    assert truth.visible[:9].all()


def test_noise_has_the_asked_strength() -> None:
    added = template_set("beetle", feature_noise=1.0, seed=4).features - CLEAN.features
    assert added.std() == pytest.approx(CLEAN.features.std(), rel=0.01)


def test_it_is_not_the_first_template() -> None:
    assert np.abs(CLEAN.features[:8] - template_set().features).mean() > 0.5


def test_bad_choices_are_named() -> None:
    with pytest.raises(ValueError, match="'fish' is not known; use creature or beetle"):
        template_set("fish")
    with pytest.raises(ValueError, match="10 is outside the set; use 0 to 9"):
        template_set("beetle", mirrored=(10,))
