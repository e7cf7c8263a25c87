import pytest
import torch

from tests.workers.saliency.planted import overlap, planted
from workers.saliency.cosegmentation import CoSegmentationOptions, cosegment, vote_ratios

FORMS = [CoSegmentationOptions(), CoSegmentationOptions(compat=True)]


@pytest.mark.parametrize("options", FORMS, ids=["default", "official"])
def test_a_planted_object_is_found(options: CoSegmentationOptions) -> None:
    drawn = planted()
    found = cosegment(drawn.features, drawn.prior, drawn.images, options)
    assert overlap(found.masks, drawn.truth).min() > 0.9
    assert found.found.all()
    assert found.masks.shape == drawn.truth.shape
    assert found.image_masks.shape == drawn.images[:, 0].shape
    assert len(found.votes) == found.clusters.count


def test_scores_alone_find_it_too() -> None:
    drawn = planted()
    found = cosegment(drawn.features, drawn.prior, drawn.images, CoSegmentationOptions(refine=False))
    assert overlap(found.masks, drawn.truth).min() > 0.9
    assert found.masks.min() >= 0
    assert found.masks.max() <= 1


@pytest.mark.parametrize("options", FORMS, ids=["default", "official"])
def test_the_order_of_the_images_does_not_matter(options: CoSegmentationOptions) -> None:
    drawn = planted()
    order = torch.tensor([2, 0, 3, 1])
    straight = cosegment(drawn.features, drawn.prior, drawn.images, options)
    shuffled = cosegment(drawn.features[order], drawn.prior[order], drawn.images[order], options)
    torch.testing.assert_close(shuffled.masks, straight.masks[order], atol=1e-5, rtol=0)
    assert torch.equal(shuffled.labels, straight.labels[order])


def test_the_same_seed_gives_the_same_bits() -> None:
    drawn = planted()
    first, second = (cosegment(drawn.features, drawn.prior, drawn.images, seed=2**32 - 1) for _ in range(2))
    assert torch.equal(first.masks, second.masks)


def test_an_image_without_the_object_stays_empty() -> None:
    drawn = planted(6, absent=2)
    found = cosegment(drawn.features, drawn.prior, drawn.images)
    assert found.masks[2].mean() < 0.02
    others = [0, 1, 3, 4, 5]
    assert overlap(found.masks[others], drawn.truth[others]).min() > 0.9


def test_what_shares_a_cluster_with_the_object_is_vetoed_where_it_is_not_salient() -> None:
    """In the first image a large patch of background has the object's very features."""
    drawn = planted()
    drawn.features[0, :, 26:, :] = drawn.features[0, :, drawn.truth[0, 0] > 0].mean(dim=1).view(-1, 1, 1)
    drawn.images[0, :, 4 * 26 :] = 0.8
    plain = CoSegmentationOptions(refine=False)
    default = cosegment(drawn.features, drawn.prior, drawn.images, plain)
    assert overlap(default.masks, drawn.truth)[0] > 0.9


@pytest.mark.parametrize("options", FORMS, ids=["default", "official"])
@pytest.mark.parametrize("case", ["flat features", "flat prior", "no prior", "one image", "black images", "coarse"])
def test_degenerate_sets_give_finite_masks(options: CoSegmentationOptions, case: str) -> None:
    drawn = planted()
    features, prior, images = drawn.features, drawn.prior, drawn.images
    if case == "flat features":
        features = torch.ones_like(features)
    if case == "flat prior":
        prior = torch.full_like(prior, 0.3)
    if case == "no prior":
        prior = torch.zeros_like(prior)
    if case == "one image":
        features, prior, images = features[:1], prior[:1], images[:1]
    if case == "black images":
        images = torch.zeros_like(images)
    if case == "coarse":
        features, prior = features[..., :2, :2], prior[..., :2, :2]
    found = cosegment(features, prior, images, options)
    assert found.masks.isfinite().all()
    assert found.masks.min() >= 0
    assert found.masks.max() <= 1
    if case in {"flat prior", "no prior"} and not options.compat:
        assert not found.found.any()
    if case in {"one image", "black images"} and not options.compat:
        assert overlap(found.masks, drawn.truth[: len(features)]).min() > (0.9 if case == "one image" else 0.5)


def test_zero_features_are_all_background() -> None:
    drawn = planted()
    found = cosegment(torch.zeros_like(drawn.features), drawn.prior, drawn.images)
    assert found.clusters.count == 1
    assert not found.found.any()


def test_cells_beside_the_picture_take_no_part() -> None:
    drawn = planted()
    valid = torch.ones_like(drawn.truth)
    valid[:, :, :, :6] = 0
    drawn.prior[..., :3] = 1
    wild = torch.randn(drawn.features[..., :6].shape, generator=torch.Generator().manual_seed(9))
    drawn.features[..., :6] = wild
    first = cosegment(drawn.features, drawn.prior, drawn.images, valid=valid)
    assert (first.masks[..., :6] == 0).all()
    drawn.features[..., :6] = -wild
    second = cosegment(drawn.features, drawn.prior, drawn.images, valid=valid)
    torch.testing.assert_close(first.masks, second.masks)


def test_few_images_cannot_carry_a_cluster() -> None:
    absent = float("nan")
    means = torch.tensor([[0.9, 0.9], [0.9, absent], [0.9, absent], [0.9, absent]])
    everywhere, once = vote_ratios(means).tolist()
    assert everywhere > 0.99
    assert once == pytest.approx(0.5, abs=0.01)


def test_faults_are_named() -> None:
    drawn = planted()
    with pytest.raises(ValueError, match="prior: shape"):
        cosegment(drawn.features, drawn.prior[:2], drawn.images)
    with pytest.raises(ValueError, match="valid: shape"):
        cosegment(drawn.features, drawn.prior, drawn.images, valid=torch.ones(4, 1, 3, 3))
    with pytest.raises(ValueError, match="no cell of the features"):
        cosegment(drawn.features, drawn.prior, drawn.images, valid=torch.zeros_like(drawn.truth))
    drawn.prior[1, 0, 0, 0] = float("nan")
    with pytest.raises(ValueError, match="prior: some values are not finite"):
        cosegment(drawn.features, drawn.prior, drawn.images)
