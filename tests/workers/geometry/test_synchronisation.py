import pytest
import torch
from torch import Tensor

from workers.geometry.synchronisation import (
    PairRelations,
    no_relations,
    synchronise_signs,
    synchronise_similarities,
)

COUNT = 8


def complex_normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.view_as_complex(torch.randn(*shape, 2, generator=generator, dtype=torch.float64))


def exact_relations(seed: int) -> tuple[PairRelations, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    factor = (complex_normal(generator, COUNT) * 0.3).exp()
    shift = 0.2 * complex_normal(generator, COUNT)
    source = 0.3 * complex_normal(generator, COUNT, COUNT)
    common = (source - shift.unsqueeze(1)) / factor.unsqueeze(1)
    weights = 1 - torch.eye(COUNT, dtype=torch.float64)
    relation = factor.unsqueeze(0) / factor.unsqueeze(1)
    pairs = PairRelations(relation, source, factor.unsqueeze(0) * common + shift.unsqueeze(0), weights)
    return pairs, factor, shift


def spread(values: Tensor) -> float:
    return float((values - values.mean()).abs().max())


@pytest.mark.parametrize("seed", range(3))
def test_exact_pairs_give_the_frame_up_to_a_similarity(seed: int) -> None:
    pairs, factor, shift = exact_relations(seed)
    found, moved = synchronise_similarities(pairs)
    assert spread(found / factor) < 1e-9
    assert spread((shift - moved) / factor) < 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_a_few_wrong_pairs_hardly_matter(seed: int) -> None:
    pairs, factor, shift = exact_relations(seed)
    for i, j in [(0, 1), (2, 5), (3, 4), (6, 7), (1, 6)]:
        pairs.factor[i, j] *= torch.polar(torch.tensor(1.5), torch.tensor(1.2))
        pairs.target[i, j] += 0.6
    found, moved = synchronise_similarities(pairs)
    assert spread((found / factor).log()) < 0.03
    assert spread((shift - moved) / factor) < 0.03


def test_images_without_relations_stay_where_they_are() -> None:
    pairs, _, _ = exact_relations(0)
    pairs.weights[3], pairs.weights[:, 3] = 0, 0
    found, moved = synchronise_similarities(pairs)
    assert (found[3], moved[3]) == (1, 0)
    found, moved = synchronise_similarities(no_relations(4))
    assert (found == 1).all()
    assert (moved == 0).all()


def supports(signs: Tensor, *, noise: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    same = signs.unsqueeze(1) * signs.unsqueeze(0)
    base = 10 + noise * torch.rand(2, len(signs), len(signs), generator=generator)
    agreement, disagreement = base[0] + 4 * same, base[1] - 4 * same
    return agreement + agreement.T, disagreement + disagreement.T


@pytest.mark.parametrize("noise", [0.0, 6.0])
def test_signs_are_recovered(noise: float) -> None:
    signs = torch.tensor([1, 1, -1, 1, 1, -1, -1, 1], dtype=torch.float64)
    torch.testing.assert_close(synchronise_signs(*supports(signs, noise=noise)), signs)


def test_the_majority_stays_as_it_is() -> None:
    signs = torch.tensor([-1, -1, -1, 1, -1], dtype=torch.float64)
    torch.testing.assert_close(synchronise_signs(*supports(signs, noise=0.0)), -signs)


def test_symmetric_things_are_not_mirrored() -> None:
    generator = torch.Generator().manual_seed(0)
    agreement = 100 + torch.rand(6, 6, generator=generator)
    disagreement = 100 + torch.rand(6, 6, generator=generator)
    signs = synchronise_signs(agreement + agreement.T, disagreement + disagreement.T)
    assert (signs == 1).all()


def test_an_image_with_hardly_any_support_is_not_mirrored() -> None:
    agreement, disagreement = supports(torch.ones(6, dtype=torch.float64), noise=0.0)
    agreement[2], agreement[:, 2] = 0.0, 0.0
    disagreement[2], disagreement[:, 2] = 0.05, 0.05
    assert (synchronise_signs(agreement, disagreement) == 1).all()


@pytest.mark.parametrize("fixed", [(2,), (0, 3, 5)])
def test_fixed_images_keep_the_identity_and_the_others_follow(fixed: tuple[int, ...]) -> None:
    pairs, factor, shift = exact_relations(1)
    still = torch.zeros(COUNT, dtype=torch.bool)
    still[list(fixed)] = True
    one, zero = torch.ones((), dtype=torch.complex128), torch.zeros((), dtype=torch.complex128)
    factor, shift = torch.where(still, one, factor), torch.where(still, zero, shift)
    common = 0.3 * complex_normal(torch.Generator().manual_seed(5), COUNT, COUNT)
    pairs = PairRelations(
        factor.unsqueeze(0) / factor.unsqueeze(1),
        factor.unsqueeze(1) * common + shift.unsqueeze(1),
        factor.unsqueeze(0) * common + shift.unsqueeze(0),
        pairs.weights,
    )
    found, moved = synchronise_similarities(pairs, fixed=still)
    assert (found[still] == 1).all()
    assert (moved[still] == 0).all()
    torch.testing.assert_close(found, factor, atol=1e-6, rtol=0)
    torch.testing.assert_close(moved, shift, atol=1e-6, rtol=0)


def test_fixed_images_decide_what_is_mirrored() -> None:
    signs = torch.tensor([1, 1, -1, -1, -1, -1, -1, -1], dtype=torch.float64)
    fixed = torch.arange(8) == 1
    torch.testing.assert_close(synchronise_signs(*supports(signs, noise=0.0), fixed=fixed), signs)
    fixed = torch.arange(8) == 4
    found = synchronise_signs(*supports(signs, noise=3.0), fixed=fixed)
    torch.testing.assert_close(found, -signs)


def test_images_tied_to_no_fixed_one_stay_finite() -> None:
    pairs, _, _ = exact_relations(2)
    pairs.weights[:4, 4:], pairs.weights[4:, :4] = 0, 0
    found, moved = synchronise_similarities(pairs, fixed=torch.arange(COUNT) == 0)
    assert torch.isfinite(found.abs()).all()
    assert torch.isfinite(moved.abs()).all()
