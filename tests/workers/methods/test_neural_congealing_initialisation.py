"""The first alignment from matches, on the analytic template set."""

import numpy as np
import pytest
import torch
from torch import Tensor

from workers.evaluation.template_set import IMAGE_SIZE, TEMPLATE_KEYPOINTS, TemplateSet, template_set
from workers.geometry.coordinates import identity_grid, sample
from workers.geometry.similarity import compose, from_complex, identity_matrix, invert, to_complex, transform
from workers.matching.ransac import fit_similarity
from workers.methods.neural_congealing.flips import WarpedLooks, agreement, look_all, with_settled_flips
from workers.methods.neural_congealing.initialisation import (
    Initialisation,
    NothingInCommonError,
    combine,
    initialise,
)
from workers.methods.neural_congealing.pair_matches import PairEvidence, match_pairs
from workers.methods.neural_congealing.views import Frame

ADDED = 3


def frames(truth: TemplateSet, count: int = 8) -> tuple[Frame, Frame]:
    features, masks = torch.from_numpy(truth.features[:count]), torch.from_numpy(truth.masks[:count])
    valid = torch.ones_like(masks)
    return Frame(features, masks, valid), Frame(features.flip(-1), masks.flip(-1), valid)


def true_matrices(truth: TemplateSet) -> Tensor:
    """Template -> image (8, 2, 3), of the pictures before any mirroring: the best similarities."""
    source = torch.complex(*torch.from_numpy(TEMPLATE_KEYPOINTS).T)
    found = []
    for index in range(8):
        x, y = torch.from_numpy(truth.to_image(index, TEMPLATE_KEYPOINTS) * 2 / IMAGE_SIZE - 1).T
        x = -x if index in truth.mirrored else x
        found.append(
            from_complex(*fit_similarity(source, torch.complex(x, y), torch.ones(len(source), dtype=torch.float64)))
        )
    return torch.stack(found).float()


def start_of(truth: TemplateSet, *, anchors: Tensor | None = None, seed: int = 0) -> Initialisation:
    upright, turned = frames(truth)
    return initialise(upright, turned, generator=torch.Generator().manual_seed(seed), anchors=anchors)


def shift_apart(first: Tensor, second: Tensor) -> float:
    """Largest distance of the template's points under two maps (..., 2, 3)."""
    points = torch.from_numpy(TEMPLATE_KEYPOINTS).float().unsqueeze(0)
    return float((transform(first, points) - transform(second, points)).norm(dim=-1).max())


@pytest.mark.parametrize("noise", [0.0, 2.0])
def test_all_images_find_one_frame(noise: float) -> None:
    truth = template_set(feature_noise=noise, mirrored=(2, 5))
    start = start_of(truth)
    assert start.mirrored.nonzero().flatten().tolist() == [2, 5]
    assert start.belongs.all()
    exact = true_matrices(truth)
    relative = compose(start.matrices, invert(start.matrices[:1]))
    expected = compose(exact, invert(exact[:1]))
    inside = transform(exact[:1], torch.from_numpy(TEMPLATE_KEYPOINTS).float().unsqueeze(0))
    gap = (transform(relative, inside.expand(8, -1, -1)) - transform(expected, inside.expand(8, -1, -1))).norm(dim=-1)
    assert float(gap.max()) < 0.15 + 0.1 * noise


def test_a_reference_image_is_the_frame() -> None:
    truth = template_set(mirrored=(1, 4))
    anchors = torch.arange(8) == 2
    start = start_of(truth, anchors=anchors)
    assert torch.equal(start.matrices[2], identity_matrix(1)[0])
    assert start.mirrored.nonzero().flatten().tolist() == [1, 4]
    assert float(start.trust[2]) == float(start.trust.max())
    exact = true_matrices(truth)
    points = transform(exact[2:3], torch.from_numpy(TEMPLATE_KEYPOINTS).float().unsqueeze(0))
    seen = transform(start.matrices, points.expand(8, -1, -1))
    there = transform(exact, torch.from_numpy(TEMPLATE_KEYPOINTS).float().expand(8, -1, -1))
    assert float((seen - there).norm(dim=-1).max()) < 0.15


def test_a_mirrored_reference_stays_as_it_is_and_the_others_turn() -> None:
    start = start_of(template_set(mirrored=(2,)), anchors=torch.arange(8) == 2)
    assert start.mirrored.tolist() == [index != 2 for index in range(8)]


def finished_atlas(truth: TemplateSet) -> tuple[Frame, Frame]:
    """All images in the template's frame but one, which is as uploaded."""
    upright, _ = frames(truth)
    matrices = true_matrices(truth)
    matrices[ADDED] = identity_matrix(1)[0]
    grids = transform(matrices, identity_grid(64, 64).unsqueeze(0))
    features, masks = sample(upright.features, grids), sample(upright.masks, grids, padding="zeros")
    valid = torch.ones_like(masks)
    return Frame(features, masks, valid), Frame(features.flip(-1), masks.flip(-1), valid)


@pytest.mark.parametrize("mirrored", [False, True])
def test_an_image_is_added_to_a_finished_atlas(mirrored: bool) -> None:
    truth = template_set(mirrored=(ADDED,) if mirrored else ())
    upright, turned = finished_atlas(truth)
    anchors = torch.arange(8) != ADDED
    start = initialise(upright, turned, generator=torch.Generator().manual_seed(0), anchors=anchors)
    assert torch.equal(start.matrices[anchors], identity_matrix(7))
    assert start.mirrored.nonzero().flatten().tolist() == ([ADDED] if mirrored else [])
    assert start.belongs.all()
    assert shift_apart(start.matrices[ADDED : ADDED + 1], true_matrices(truth)[ADDED : ADDED + 1]) < 0.12


def test_an_added_image_without_the_object_does_not_belong() -> None:
    whole, truth = template_set(), template_set(without_object=ADDED)
    upright, _ = finished_atlas(whole)
    empty = torch.from_numpy(truth.features[ADDED : ADDED + 1])
    features = torch.where((torch.arange(8) == ADDED).view(-1, 1, 1, 1), empty, upright.features)
    masks = torch.ones_like(upright.masks)
    anchors = torch.arange(8) != ADDED
    start = initialise(
        Frame(features, masks, masks),
        Frame(features.flip(-1), masks, masks),
        generator=torch.Generator().manual_seed(0),
        anchors=anchors,
    )
    good = initialise(
        Frame(upright.features, masks, masks),
        Frame(upright.features.flip(-1), masks, masks),
        generator=torch.Generator().manual_seed(0),
        anchors=anchors,
    )
    assert start.belongs.tolist() == anchors.tolist()
    assert good.belongs.all()
    assert float(start.trust[ADDED]) < 0.1 * float(good.trust[ADDED])


def test_an_image_without_the_object_does_not_belong() -> None:
    start = start_of(template_set(without_object=6))
    assert (~start.belongs).nonzero().flatten().tolist() == [6]
    assert float(start.trust[6]) < 0.1 * float(start.trust.median())


@pytest.mark.parametrize("seed", range(3))
def test_a_set_of_unrelated_features_is_refused(seed: int) -> None:
    features = torch.randn(8, 16, 32, 32, generator=torch.Generator().manual_seed(seed))
    whole = torch.ones(8, 1, 32, 32)
    with pytest.raises(NothingInCommonError, match=r"share nothing.*Check.*masks.*backbone"):
        initialise(Frame(features, whole, whole), None, generator=torch.Generator().manual_seed(0))


def test_the_same_seed_gives_the_same_alignment() -> None:
    truth = template_set(feature_noise=1.0)
    first, second = start_of(truth, seed=4), start_of(truth, seed=4)
    assert torch.equal(first.matrices, second.matrices)
    assert torch.equal(first.trust, second.trust)


def finite(start: Initialisation) -> bool:
    return bool(torch.isfinite(start.matrices).all() and torch.isfinite(start.trust).all())


def test_copies_of_one_image_lie_on_each_other() -> None:
    upright, turned = frames(template_set(), 1)

    def copies(frame: Frame) -> Frame:
        return Frame(*(maps.expand(5, -1, -1, -1) for maps in (frame.features, frame.masks, frame.valid)))

    start = initialise(copies(upright), copies(turned), generator=torch.Generator().manual_seed(0))
    assert not start.mirrored.any()
    assert float((start.matrices - identity_matrix(5)).abs().max()) < 0.02


def test_a_blank_image_does_not_belong_and_harms_nobody() -> None:
    upright, turned = frames(template_set())
    for frame in (upright, turned):
        frame.features[5] = 0
    start = initialise(upright, turned, generator=torch.Generator().manual_seed(0))
    assert finite(start)
    assert (~start.belongs).nonzero().flatten().tolist() == [5]
    assert torch.equal(start.matrices[5], identity_matrix(1)[0])


def test_two_images_and_a_mirrored_pair() -> None:
    for mirrored in ((), (1,)):
        upright, turned = frames(template_set(mirrored=mirrored), 2)
        start = initialise(upright, turned, generator=torch.Generator().manual_seed(0))
        assert finite(start)
        assert start.belongs.all()
        assert int(start.mirrored.sum()) == len(mirrored)


def test_sixty_images_stay_finite() -> None:
    upright, _ = frames(template_set(feature_noise=0.5))
    pick = torch.arange(60) % 8
    many = Frame(upright.features[pick], upright.masks[pick], upright.valid[pick])
    start = initialise(many, None, generator=torch.Generator().manual_seed(0))
    assert finite(start)
    assert start.belongs.all()
    assert float((start.matrices[:8] - start.matrices[8:16]).abs().max()) < 0.05


def with_wrong_support(evidence: PairEvidence, image: int) -> PairEvidence:
    """The evidence with one image's support for being mirrored raised over that for being as it is."""
    assert evidence.mirrored is not None
    weights = evidence.mirrored.weights
    high = 3 * evidence.as_is.weights.max()
    weights[image, image + 1 :], weights[:image, image] = high, high
    return evidence


def test_a_picture_that_pairs_would_mirror_wrongly_is_set_right() -> None:
    upright, turned = frames(template_set())
    evidence = with_wrong_support(match_pairs(upright, turned, generator=torch.Generator().manual_seed(0)), 4)
    start = combine(evidence)
    assert start.mirrored.nonzero().flatten().tolist() == [4]
    looks = WarpedLooks(upright, turned)
    settled = with_settled_flips(looks, evidence, start, look_all(looks, start), None)
    assert not settled.mirrored.any()


def test_a_picture_that_is_mirrored_stays_so() -> None:
    upright, turned = frames(template_set(mirrored=(4,)))
    evidence = match_pairs(upright, turned, generator=torch.Generator().manual_seed(0))
    looks, start = WarpedLooks(upright, turned), combine(evidence)
    settled = with_settled_flips(looks, evidence, start, look_all(looks, start), None)
    assert settled.mirrored.nonzero().flatten().tolist() == [4]


def test_agreement_is_the_sum_over_the_other_images() -> None:
    seen = torch.randn(5, 12, generator=torch.Generator().manual_seed(0))
    plain = [sum(float(seen[i] @ seen[j]) for j in range(5) if j != i) for i in range(5)]
    np.testing.assert_allclose(agreement(seen).numpy(), plain, rtol=1e-4)


def test_looks_at_aligned_pictures_agree_more() -> None:
    truth = template_set(mirrored=(3,))
    upright, turned = frames(truth)
    looks, exact = WarpedLooks(upright, turned), true_matrices(truth)
    flags = torch.arange(8) == 3
    ones = torch.ones(8)
    aligned = agreement(look_all(looks, Initialisation(exact, flags, ones, flags)))
    unaligned = agreement(look_all(looks, Initialisation(identity_matrix(8), ~flags & flags, ones, flags)))
    assert (aligned > 1.5 * unaligned).all()
    factor, _ = to_complex(exact)
    assert torch.isfinite(factor.abs()).all()
