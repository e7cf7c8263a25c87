import numpy as np
import pytest

from workers.evaluation.template_set import TEMPLATE_KEYPOINTS, TemplateSet, template_set

CLEAN = template_set()
FORWARD_TOLERANCE_PX = 1e-4


def identity_pck(truth: TemplateSet, share: float) -> float:
    gaps = np.linalg.norm(truth.keypoints[:, None] - truth.keypoints[None], axis=-1)
    pairs = ~np.eye(len(gaps), dtype=bool)
    return 100 * float((gaps[pairs] <= share * 256).mean())


def test_keypoints_lie_at_the_published_places() -> None:
    # The figures count pixel centres as integers; ours add half a pixel.
    expected = {
        0: [(191.400, 83.553), (172.780, 100.644), (132.227, 89.798)],
        1: [(199.612, 99.524), (178.594, 109.412), (148.533, 88.185)],
        3: [(207.086, 129.369), (189.824, 136.986), (162.336, 119.531)],
    }
    for index, points in expected.items():
        np.testing.assert_allclose(CLEAN.keypoints[index, :3], np.array(points) + 0.5, atol=1e-3)


def test_foreground_covers_the_published_fractions() -> None:
    expected = [0.1367, 0.0991, 0.1662, 0.0766, 0.1236, 0.1799, 0.0877, 0.1107]
    np.testing.assert_allclose(CLEAN.image_masks.mean(axis=(1, 2, 3)), expected, atol=5e-5)


def test_copying_points_scores_the_published_baseline() -> None:
    scores = [identity_pck(CLEAN, share) for share in (0.1, 0.05, 0.02)]
    np.testing.assert_allclose(scores, [38.69, 13.99, 2.98], atol=0.005)


def test_shapes_and_ranges() -> None:
    assert CLEAN.images.shape == (8, 3, 256, 256)
    assert CLEAN.features.shape == (8, 32, 64, 64)
    assert CLEAN.masks.shape == (8, 1, 64, 64)
    assert CLEAN.image_masks.shape == (8, 1, 256, 256)
    assert 0 <= CLEAN.images.min() < CLEAN.images.max() <= 1
    assert set(np.unique(CLEAN.image_masks)) == {0.0, 1.0}


@pytest.mark.parametrize("amplitude", [0.0, 0.05, 0.1, 0.2])
def test_round_trip_is_exact_and_orientation_is_kept(amplitude: float) -> None:
    truth = template_set(amplitude=amplitude)
    axis = np.linspace(-0.6, 0.6, 25)
    template = np.stack(np.meshgrid(axis, axis), axis=-1)
    for index in range(8):
        pixels = truth.to_image(index, template)
        np.testing.assert_allclose(truth.to_template(index, pixels), template, atol=FORWARD_TOLERANCE_PX / 128)
        along_u, along_v = np.diff(pixels, axis=1)[:-1], np.diff(pixels, axis=0)[:, :-1]
        assert (along_u[..., 0] * along_v[..., 1] - along_u[..., 1] * along_v[..., 0]).min() > 0


def test_features_agree_where_the_template_point_does() -> None:
    template = np.array([(-0.1, -0.1), (0.2, -0.05), (0.0, 0.12)])
    distances = []
    for shift in (0.0, 0.2):
        cells = [(CLEAN.to_image(i, template + shift * (i > 0)) / 4).astype(int) for i in (0, 4)]
        first, second = (CLEAN.features[i][:, c[:, 1], c[:, 0]] for i, c in zip((0, 4), cells, strict=True))
        distances.append(float(np.linalg.norm(first - second, axis=0).mean()))
    assert distances[0] < 0.4 * distances[1]


def test_transfer_carries_keypoints() -> None:
    np.testing.assert_allclose(CLEAN.transfer(2, 6, CLEAN.keypoints[2]), CLEAN.keypoints[6], atol=1e-3)


def test_mirrored_pictures_are_exact_mirrors() -> None:
    truth = template_set(mirrored=(2, 5))
    assert truth.mirrored == (2, 5)
    for index in range(8):
        step = -1 if index in (2, 5) else 1
        for name in ("images", "features", "masks", "image_masks"):
            twin = getattr(CLEAN, name)[index][..., ::step]
            np.testing.assert_array_equal(getattr(truth, name)[index], twin)
    np.testing.assert_allclose(truth.keypoints[2, :, 0], 256 - CLEAN.keypoints[2, :, 0], atol=1e-4)
    np.testing.assert_allclose(truth.to_template(5, truth.keypoints[5]), TEMPLATE_KEYPOINTS, atol=1e-5)


def test_picture_without_the_object_has_no_truth() -> None:
    truth = template_set(without_object=3)
    assert not truth.masks[3].any()
    assert not truth.visible[3].any()
    assert np.isnan(truth.keypoints[3]).all()
    assert truth.visible[[0, 1, 2, 4, 5, 6, 7]].all()
    np.testing.assert_array_equal(truth.features[4], CLEAN.features[4])


def test_noise_has_the_asked_strength_and_follows_the_seed() -> None:
    noisy, again = (template_set(feature_noise=2.0, seed=5) for _ in range(2))
    np.testing.assert_array_equal(noisy.features, again.features)
    added = noisy.features - CLEAN.features
    assert added.std() == pytest.approx(2.0 * CLEAN.features.std(), rel=0.01)
    assert np.abs(template_set(feature_noise=2.0, seed=6).features - noisy.features).mean() > 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mirrored": (8,)}, "8 is outside the set"),
        ({"without_object": -1}, "-1 is outside the set"),
        ({"amplitude": 0.4}, "0.4 folds"),
        ({"feature_noise": -0.5}, "-0.5 is negative"),
    ],
)
def test_bad_options_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        template_set(**options)  # type: ignore[arg-type]
