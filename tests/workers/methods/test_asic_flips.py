"""Which pictures must be mirrored, by the matches of pairs."""

from dataclasses import replace

import pytest
import torch

from tests.workers.methods.analytic import flags, paired, seen_mirrored
from workers.evaluation.analytic_set import IMAGES
from workers.geometry.joint_splines import PairedPoints
from workers.methods.asic.flips import mirrored_images, oriented, pair_support


def first_turned(matches: PairedPoints) -> PairedPoints:
    return replace(matches, first_points=matches.first_points * torch.tensor([-1.0, 1.0]))


@pytest.mark.parametrize("outliers", [0.0, 0.6])
@pytest.mark.parametrize("mirrored", [(1, 4, 6), (0, 2, 7), ()])
def test_mirrored_pictures_are_found(mirrored: tuple[int, ...], outliers: float) -> None:
    seen = seen_mirrored(paired(outliers), flags(*mirrored))
    assert torch.equal(mirrored_images(seen, first_turned(seen), IMAGES), flags(*mirrored))


def test_anchors_stay_as_they_are() -> None:
    seen = seen_mirrored(paired(), flags(0, 3))
    turned = first_turned(seen)
    assert torch.equal(mirrored_images(seen, turned, IMAGES, flags(1)), flags(0, 3))
    assert torch.equal(mirrored_images(seen, turned, IMAGES, flags(0, 3)), ~flags(0, 3))


def test_support_counts_what_one_similarity_explains() -> None:
    generator = torch.Generator().manual_seed(0)
    points = 2 * torch.rand(2, 50, 2, generator=generator) - 1
    turned = 0.8 * points @ torch.tensor([[0.6, 0.8], [-0.8, 0.6]]) + 0.1
    turned[0, 30:] = 2 * torch.rand(20, 2, generator=generator) - 1
    weights = torch.ones(2, 50)
    weights[1, 40:] = 0
    ends = torch.tensor([0, 1])
    support = pair_support(PairedPoints(ends, ends + 1, points, turned, weights))
    assert 30 <= support[0] < 33
    assert support[1] == pytest.approx(40, abs=0.01)


@pytest.mark.parametrize("mirrored", [(), (0,), (1,), (0, 1)])
def test_matches_follow_the_pictures_they_lie_in(mirrored: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    ends = torch.tensor([0]), torch.tensor([1])
    plain = PairedPoints(*ends, *torch.randn(2, 1, 5, 2, generator=generator), torch.ones(1, 5))
    other = PairedPoints(*ends, *torch.randn(2, 1, 3, 2, generator=generator), torch.ones(1, 3))
    found = oriented(plain, other, torch.tensor([0 in mirrored, 1 in mirrored]))
    source = plain if len(mirrored) != 1 else other
    count = source.weights.shape[1]
    assert found.weights.tolist() == [[1.0] * count + [0.0] * (5 - count)]
    for row in range(count):
        (ax, ay), (bx, by) = source.first_points[0, row].tolist(), source.second_points[0, row].tolist()
        shown = {
            (): ((ax, ay), (bx, by)),
            (0,): ((ax, ay), (bx, by)),  # x of the first is that of its mirrored frame already
            (1,): ((-ax, ay), (-bx, by)),
            (0, 1): ((-ax, ay), (-bx, by)),
        }[mirrored]
        assert found.first_points[0, row].tolist() == pytest.approx(shown[0])
        assert found.second_points[0, row].tolist() == pytest.approx(shown[1])


def test_oriented_matches_of_mirrored_pictures_are_the_true_ones() -> None:
    truth = paired()
    seen = seen_mirrored(truth, flags(1, 4, 6))
    found = oriented(seen, first_turned(seen), flags(1, 4, 6))
    assert torch.equal(found.first_points, truth.first_points)
    assert torch.equal(found.second_points, truth.second_points)
