"""Losses of Telling Left from Right (arXiv 2311.17034) against values of the official code."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.evaluation.official_geo_aware import Seen, contrast, end_point_error, flow, mirrored, pair_loss
from workers.matching.soft_argmax import Softness
from workers.methods.geo_aware_adapter.losses import dense_loss, found_places, sparse_loss
from workers.methods.geo_aware_adapter.objective import Keypoints, Pairing, Weights, pair_losses

CELLS = 60
SCALE = torch.tensor(1 / 0.07)
BECOMES = torch.tensor([1, 0, 3, 2, 4, 5])
PAIRING = Pairing(torch.tensor([0]), torch.tensor([1]), torch.randn(1, 4, 6, 2), noise_scale=0.0)


def described(a: float, b: float, c: float) -> Tensor:
    y, x = torch.meshgrid(*[torch.arange(CELLS, dtype=torch.float64)] * 2, indexing="ij")
    waves = [torch.cos(0.05 * a * ch * x + 0.03 * b * ch * y + c * ch) for ch in range(1, 9)]
    return torch.nn.functional.normalize(torch.stack(waves), dim=0).float()


def maps() -> Tensor:
    return torch.stack([described(1.0, 1.3, 0.2), described(1.1, 1.2, 0.4)])


def keypoints() -> tuple[Tensor, Tensor]:
    """Places (2, 6, 2) in cells of the source and target, and which are visible."""
    i = torch.arange(6, dtype=torch.float32)
    source = torch.stack([60.5 + 97 * i, 140.25 + 53 * i], dim=1)
    target = torch.stack([110.75 + 83 * i, 90.5 + 71 * i], dim=1)
    visible = torch.ones(2, 6, dtype=torch.bool)
    visible[1, 2] = visible[0, 5] = False
    return torch.stack([source, target]) * visible.unsqueeze(2) * CELLS / 840, visible


def ours(weights: Weights, *, mirror: bool = True) -> tuple[float, float, float]:
    points, visible = keypoints()
    views, known = maps(), Keypoints(points, visible, torch.full((2,), 20.0))
    if mirror:
        views, known = torch.cat([views, views.flip(3)]), known.with_mirrored(BECOMES.expand(2, -1), CELLS)
    found = pair_losses(views, known, PAIRING, weights, SCALE.log(), subcell=False)
    return float(found.total), float(found.sparse), float(found.dense)


def official(weights: tuple[float, float, float]) -> float:
    points, visible = keypoints()
    views = maps()
    seen = [Seen(views[i], points[i], visible[i], 20.0) for i in range(2)]
    seen += [Seen(views[i].flip(2), *mirrored(points[i], visible[i], BECOMES, CELLS), 20.0) for i in range(2)]
    return float(pair_loss(*seen, weights=weights, scale=SCALE, noise=torch.zeros(4, 6, 2)))


@pytest.mark.parametrize(
    ("double", "own", "single", "expected"),
    [
        (0.0, 0.0, 0.0, 17.512001),
        (1.0, 0.0, 0.0, 16.726494),
        (1.0, 0.25, 0.0, 16.418678),
        (0.0, 0.0, 1.0, 16.777082),
        (1.0, 0.25, 1.0, 16.302828),
        (1e9, 0.0, 0.0, 15.940988),
        (0.0, 1e9, 0.0, 13.956163),
        (0.0, 0.0, 1e9, 16.042164),
    ],
)
def test_the_loss_of_a_pair(double: float, own: float, single: float, expected: float) -> None:
    total, sparse, dense = ours(Weights(double_flip=double, self_flip=own, single_flip=single))
    assert total == pytest.approx(expected, abs=1e-4)
    assert sparse == pytest.approx(1.571015, abs=1e-4)
    assert sparse + dense == pytest.approx(17.512001, abs=1e-4)
    assert official((double, own, single)) == pytest.approx(expected, abs=1e-4)


def test_without_mirrored_pictures_only_the_pair_itself_counts() -> None:
    assert ours(Weights(), mirror=False)[0] == pytest.approx(17.512001, abs=1e-4)


def test_which_keypoints_are_visible() -> None:
    points, visible = keypoints()
    known = Keypoints(points, visible, torch.ones(2)).with_mirrored(BECOMES.expand(2, -1), CELLS)
    source, target, mirrored_source, mirrored_target = known.visible
    kinds = [(source, target), (mirrored_source, target), (mirrored_source, mirrored_target), (mirrored_source, source)]
    found = [(first & second).nonzero().flatten().tolist() for first, second in kinds]
    assert found == [[0, 1, 3, 4], [0, 1, 3, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]]
    for number in range(2):
        expected = mirrored(points[number], visible[number], BECOMES, CELLS)
        assert_close((known.points[2 + number], known.visible[2 + number]), expected)


def test_flows() -> None:
    first, second = maps()
    whole = flow(first, second, Softness())
    assert_close(whole[10, 20], torch.tensor([9.083467, 19.631018]), atol=1e-4, rtol=0)
    assert_close(whole[45, 7], torch.tensor([22.633835, -14.818288]), atol=1e-4, rtol=0)
    assert float(whole.abs().mean()) == pytest.approx(14.506913, abs=1e-4)
    window = flow(first, second, Softness(window=3, window_mode="zero"))
    assert_close(window[10, 20], torch.tensor([-17.954775, 19.940561]), atol=1e-3, rtol=0)
    assert_close(window[45, 7], torch.tensor([8.015025, -14.999887]), atol=1e-3, rtol=0)
    # A tenth of the cells have two peaks equal to 1e-7, so that rounding decides where those go.
    assert float(window.abs().mean()) == pytest.approx(16.898723, abs=0.1)


ROWS = torch.tensor([100, 777, 2000, 3599])
WANTED = torch.tensor([(1.5, 2.5), (-3.0, 4.0), (10.0, -20.0), (-5.0, -5.0)])
COUNTED = torch.ones(1, 4, dtype=torch.bool)


def test_errors_of_some_rows_and_their_gradient() -> None:
    views = maps()
    gradients = []
    for rows_only in (True, False):
        leaf = views.clone().requires_grad_()
        if rows_only:
            queries = leaf[0].flatten(1).T[ROWS].unsqueeze(0)
            found = found_places(queries, COUNTED, torch.tensor([1]), leaf)
            own = torch.stack([ROWS % CELLS, ROWS // CELLS], dim=1)
            error = dense_loss(found, (WANTED + own).unsqueeze(0), COUNTED).squeeze(0)
        else:
            error = end_point_error(flow(leaf[0], leaf[1], Softness()), ROWS, WANTED)
        assert float(error.detach()) == pytest.approx(28.01936, abs=1e-4)
        gradients += torch.autograd.grad(error, leaf)
    assert float(gradients[1].abs().max()) > 1
    assert_close(gradients[0], gradients[1], atol=1e-4 * float(gradients[1].abs().max()), rtol=0)


def test_contrast_of_some_rows() -> None:
    table = [view.flatten(1).T for view in maps()]
    others = torch.where(ROWS < 3599, ROWS + 1, ROWS - 1)
    first, second = table[0][ROWS], table[1][others]
    assert float(contrast(first, second, SCALE)) == pytest.approx(11.606818, abs=1e-4)
    found = sparse_loss(first.unsqueeze(0), second.unsqueeze(0), COUNTED, torch.tensor(math.log(1 / 0.07)))
    assert float(found) == pytest.approx(11.606818, abs=1e-4)
