"""Maps to one plane from matches, against plain least squares and against known maps."""

from itertools import combinations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.geometry.flows import evaluate_flow, identity_controls
from workers.geometry.joint_splines import JointOptions, PairedPoints, fit_joint_splines, solve_plainly

TURNS = torch.tensor([0.0, 0.4, -0.3, 0.2], dtype=torch.float64)


def to_plane(points: Tensor, image: int) -> Tensor:
    """A turn and a ripple, different for each image."""
    turn, (x, y) = TURNS[image], points.unbind(dim=-1)
    turned = torch.stack([turn.cos() * x - turn.sin() * y, turn.sin() * x + turn.cos() * y], dim=-1)
    return turned + 0.05 * torch.sin(3 * points.flip(-1) + image)


def matches_of(images: int, count: int, *, wrong: float = 0.0, seed: int = 0) -> tuple[PairedPoints, Tensor]:
    """Matches whose ends meet in the plane, some replaced; and which are true (P, K)."""
    generator = torch.Generator().manual_seed(seed)
    pairs = list(combinations(range(images), 2))
    lattice = torch.cartesian_prod(*[torch.linspace(-1, 1, 101, dtype=torch.float64)] * 2)
    firsts, seconds, true = [], [], []
    for i, j in pairs:
        chosen = lattice[torch.randint(len(lattice), (count,), generator=generator)] * 0.8
        partners = lattice[torch.cdist(to_plane(chosen, i), to_plane(lattice, j)).argmin(dim=1)]
        kept = torch.rand(count, generator=generator) >= wrong
        random = torch.rand(count, 2, generator=generator, dtype=torch.float64) * 2 - 1
        firsts.append(chosen)
        seconds.append(torch.where(kept[:, None], partners, random))
        true.append(kept)
    first, second = torch.tensor(pairs).T
    weights = torch.ones(len(pairs), count)
    return PairedPoints(first, second, torch.stack(firsts), torch.stack(seconds), weights), torch.stack(true)


def gaps(controls: Tensor, matches: PairedPoints) -> Tensor:
    pairs = zip(matches.first, matches.second, matches.first_points, matches.second_points, strict=True)
    return torch.stack(
        [
            (evaluate_flow(controls[i : i + 1], a)[0] - evaluate_flow(controls[j : j + 1], b)[0]).norm(dim=1)
            for i, j, a, b in pairs
        ]
    )


def test_a_round_solves_what_plain_least_squares_solve() -> None:
    matches, _ = matches_of(3, 40)
    options = JointOptions(controls=5, rounds=2, reach=(0.4, 0.1), stiffness=(1.0, 0.01))
    expected = identity_controls(5).expand(3, -1, -1, -1)
    for reach, stiffness in (options.at(0), options.at(1)):
        weights = (reach**2 / (gaps(expected, matches).square() + reach**2)).square()
        expected = solve_plainly(matches, weights, 3, 5, stiffness)
    found = fit_joint_splines(matches, 3, options)
    assert_close(found.controls, expected, atol=1e-6, rtol=1e-6)
    assert_close(found.trust, weights)


@pytest.mark.parametrize("wrong", [0.0, 0.5, 0.75])
def test_true_matches_meet_and_wrong_ones_do_not_count(wrong: float) -> None:
    matches, true = matches_of(4, 150, wrong=wrong)
    found = fit_joint_splines(matches, 4)
    assert gaps(found.controls, matches)[true].median() < 0.02
    assert found.trust[true].mean() > 0.7
    if wrong:
        assert found.trust[~true].mean() < 0.1


def test_the_mean_map_is_the_identity() -> None:
    matches, _ = matches_of(4, 60)
    found = fit_joint_splines(matches, 4)
    shares = torch.stack([found.trust[(matches.first == i) | (matches.second == i)].sum() for i in range(4)])
    mean = (found.controls * (shares / shares.sum())[:, None, None, None]).sum(dim=0)
    assert_close(mean, identity_controls(8), atol=1e-3, rtol=0)


def test_an_image_without_matches_stays_where_it_is_and_disturbs_nobody() -> None:
    matches, _ = matches_of(3, 60)
    alone = fit_joint_splines(matches, 3).controls
    with_stranger = fit_joint_splines(matches, 4).controls
    assert_close(with_stranger[3], identity_controls(8), atol=1e-6, rtol=0)
    assert_close(with_stranger[:3], alone, atol=2e-3, rtol=0)


def test_padding_and_weightless_matches_change_nothing() -> None:
    matches, _ = matches_of(3, 50)
    junk = torch.rand(3, 7, 2, dtype=torch.float64)
    padded = PairedPoints(
        matches.first,
        matches.second,
        torch.cat([matches.first_points, junk], dim=1),
        torch.cat([matches.second_points, junk.flip(1)], dim=1),
        torch.cat([matches.weights, torch.zeros(3, 7)], dim=1),
    )
    found = fit_joint_splines(padded, 3)
    assert_close(found.controls, fit_joint_splines(matches, 3).controls)
    assert found.trust[:, 50:].abs().max() == 0


def test_no_matches_at_all_give_identities() -> None:
    nothing = PairedPoints(
        torch.zeros(0, dtype=torch.long),
        torch.zeros(0, dtype=torch.long),
        *[torch.zeros(0, 5, 2)] * 2,
        torch.zeros(0, 5),
    )
    found = fit_joint_splines(nothing, 2)
    assert_close(found.controls, identity_controls(8).expand(2, -1, -1, -1), atol=1e-9, rtol=0)
