"""The losses of the network mode against values of the official code of Neural Congealing (arXiv 2302.03956)."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.geometry.coordinates import identity_grid
from workers.geometry.similarity import similarity_matrix, transform
from workers.methods.neural_congealing.network.atlas import saliency_logits
from workers.methods.neural_congealing.network.distances import feature_distances
from workers.methods.neural_congealing.network.objective import (
    AtlasView,
    FlowView,
    Seen,
    Terms,
    agreement,
    atlas_terms,
    flow_terms,
    image_distances,
    objective,
    rigidity,
    sparsity,
)
from workers.methods.neural_congealing.network.options import LossWeights

Y, X = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
ATLAS_KEYS = torch.stack([torch.sin(0.3 * X + 0.5 * Y + c) for c in range(3)])
KEYS = torch.stack([torch.stack([torch.cos(0.4 * X - 0.2 * Y + c + 0.7 * b) for c in range(3)]) for b in range(2)])
LOGITS = 2 - 0.15 * ((X - 3.5).square() + (Y - 3.5).square())
MASKS = torch.stack([torch.sigmoid(1.5 - 0.2 * ((X - 3 - b).square() + (Y - 4).square())) for b in range(2)])
INSIDE = torch.ones(2, 8, 8)
INSIDE[0, :, 0] = 0
INSIDE[1, 7] = 0.5
WAVE = torch.stack([0.1 * torch.sin(0.5 * X + 0.2 * Y), 0.05 * torch.cos(0.3 * X - 0.4 * Y)], dim=-1)
FLOW = torch.stack([WAVE, -0.5 * WAVE])
IDENTITY = identity_grid(8, 8)
SPAN = 3
WEIGHTS = LossWeights()
NOBODY, BOTH = torch.zeros(2, dtype=torch.bool), torch.ones(2, dtype=torch.bool)
ATLAS = AtlasView(ATLAS_KEYS, torch.sigmoid(LOGITS))
SEEN = Seen(KEYS, MASKS, INSIDE)


def row(text: str) -> Tensor:
    return torch.tensor([float(number) for number in text.split()])


def values(terms: Terms) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in terms.items()}


def test_distances_in_each_cell() -> None:
    mse, cosine = feature_distances(ATLAS_KEYS, KEYS, NOBODY)
    expected = ".949168 1.073557 1.215793 1.354782 1.466792 1.537776 1.57191 1.59105"
    assert_close(mse[0, 0], row(expected), atol=2e-5, rtol=0)
    expected = ".949155 1.076221 1.212649 1.336866 1.435663 1.509534 1.568396 1.625296"
    assert_close(cosine[0, 0], row(expected), atol=2e-5, rtol=0)


def test_agreement_of_the_batch_and_of_each_image() -> None:
    found = values(agreement(ATLAS, SEEN, WEIGHTS, NOBODY))
    expected = {"keys_mse": 2567.7192, "keys_cosine": 2929.7993, "saliency": 146.26086}
    assert found == pytest.approx(expected, rel=1e-5)
    each = image_distances(ATLAS, SEEN, WEIGHTS)
    assert each.tolist() == pytest.approx([2699.3623 + 3082.281, 2441.3694 + 2783.4475], rel=1e-5)


def test_rigidity() -> None:
    everywhere = torch.ones(1, 8, 8)
    assert float(rigidity(IDENTITY[None], everywhere, span=1)) == pytest.approx(2.827014, rel=1e-5)
    assert float(rigidity(IDENTITY[None], everywhere, span=SPAN)) == pytest.approx(2.827015, rel=1e-5)
    turned = transform(similarity_matrix(torch.tensor([[math.pi / 6, 0.5, 0, 0]])), IDENTITY[None])
    for span in (1, SPAN):
        assert float(rigidity(turned, everywhere, span=span)) == pytest.approx(5.987871, rel=1e-5)
    grid, everywhere = IDENTITY + FLOW, torch.ones(2, 8, 8)
    assert float(rigidity(grid, everywhere, span=1)) == pytest.approx(2.90353, rel=1e-5)
    assert float(rigidity(grid, everywhere, span=SPAN)) == pytest.approx(2.884967, rel=1e-5)
    assert float(rigidity(grid, ATLAS.saliency * INSIDE, span=1)) == pytest.approx(2.900775, rel=1e-5)


def test_flow_magnitude() -> None:
    view = FlowView(FLOW, IDENTITY + FLOW, SEEN, SPAN)
    found = flow_terms(ATLAS.saliency, INSIDE, view, LossWeights(flow=1))
    assert float(found["flow"]) == pytest.approx(0.003931432, rel=1e-5)


def test_what_keeps_the_atlas_small() -> None:
    assert float(sparsity(ATLAS.saliency)) == pytest.approx(1.014587, rel=1e-5)
    assert float(ATLAS.saliency.mean()) == pytest.approx(0.590493, rel=1e-5)
    found = values(atlas_terms(ATLAS, INSIDE, LossWeights(keys_l1=1)))
    assert found["keys_l1"] == pytest.approx(1.9095620, rel=1e-5)


def test_first_saliency() -> None:
    logits = saliency_logits(MASKS.mean(dim=0))
    expected = "-.66117 .371758 1.278556 1.86284 1.86284 1.278556 .371758 -.66117"
    assert_close(logits[3], row(expected), atol=2e-5, rtol=0)
    assert [float(logits.min()), float(logits.max())] == pytest.approx([-2.19722, 2.19722], abs=2e-5)


@dataclass
class Leaves:
    """What gradients are taken of: the keys and masks are those of both groups."""

    atlas_keys: Tensor
    logits: Tensor
    keys: Tensor
    masks: Tensor
    flow: Tensor


def whole_objective(*, flow: bool, reach: Tensor | None) -> tuple[Terms, Leaves]:
    leaves = Leaves(*(each.clone().requires_grad_() for each in (ATLAS_KEYS, LOGITS, KEYS, MASKS, FLOW)))
    apart = Seen(0.5 * leaves.keys, 0.8 * leaves.masks, INSIDE)
    terms = objective(
        AtlasView(leaves.atlas_keys, torch.sigmoid(leaves.logits)),
        Seen(leaves.keys, leaves.masks, INSIDE),
        torch.tensor([0.9, 1.2]),
        WEIGHTS,
        reach=reach,
        flow=FlowView(leaves.flow, IDENTITY + leaves.flow, apart, SPAN) if flow else None,
    )
    torch.autograd.backward(torch.stack(list(terms.values())).sum())
    return terms, leaves


def sums(leaf: Tensor) -> list[float]:
    assert leaf.grad is not None
    return [float(leaf.grad.sum()), float(leaf.grad.abs().sum())]


def total(terms: Terms) -> float:
    return sum(values(terms).values())


def test_bootstrap_objective() -> None:
    terms, leaves = whole_objective(flow=False, reach=BOTH)
    found = values(terms)
    assert total(terms) == pytest.approx(6139.450, rel=1e-5)
    assert found["centre"] == pytest.approx(0.0100, abs=5e-5)
    expected = {"sparsity": 456.5643, "keys_l1": 19.0956, "scale": 20.0}
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert sums(leaves.atlas_keys) == pytest.approx([1223.306, 7202.80], rel=2e-4)
    assert sums(leaves.logits) == pytest.approx([339.974, 339.974], rel=2e-4)
    assert sums(leaves.keys) == pytest.approx([592.744, 7522.90], rel=2e-4)
    assert sums(leaves.masks) == pytest.approx([-1044.604, 1044.604], rel=2e-4)


def test_flow_objective() -> None:
    terms, leaves = whole_objective(flow=True, reach=BOTH)
    found = values(terms)
    expected = {
        "flow": 31.4515,
        "rigidity_local": 290.0775,
        "rigidity_global": 1009.1046,
        "similarity_keys_mse": 1723.6134,
        "similarity_keys_cosine": 2929.7996,
        "similarity_saliency": 233.3944,
    }
    assert total(terms) == pytest.approx(12356.892, rel=1e-5)
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert sums(leaves.flow) == pytest.approx([146.036, 2379.70], rel=2e-4)
    assert sums(leaves.keys) == pytest.approx([1669.385, 12595.79], rel=2e-4)


@pytest.mark.parametrize(("flow", "expected"), [(False, 5663.780), (True, 11881.221)])
def test_the_other_way_round_the_atlas_is_left_alone(flow: bool, expected: float) -> None:
    terms, leaves = whole_objective(flow=flow, reach=None)
    assert total(terms) == pytest.approx(expected, rel=1e-5)
    assert not {"sparsity", "keys_l1", "centre"} & set(terms)
    assert sums(leaves.atlas_keys)[1] == sums(leaves.logits)[1] == 0
