"""One training step against values of the official code of ASIC (arXiv 2303.16201)."""

import math
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.golden.asic_inputs import fill, waves
from workers.evaluation.analytic_set import hashed
from workers.methods.asic.network.canonical import identity
from workers.methods.asic.network.data import HeldOut, TrainingSet
from workers.methods.asic.network.objective import Batch, Terms, Weights, terms
from workers.methods.asic.network.options import official
from workers.methods.asic.network.perceptual import Vgg16, perceptual_distance
from workers.methods.asic.network.spline_warps import SplineWarp, spline_warp
from workers.methods.asic.network.training import Training
from workers.methods.asic.network.unet import UNet

SIZE, SMALL = 32, 16
FIRST = [[(8, 10), (16, 16), (24, 14), (20, 20), (0, 0)], [(9, 11), (15, 17), (23, 15), (0, 0), (0, 0)]]
SECOND = [[(10, 11), (18, 16), (25, 15), (21, 22), (0, 0)], [(11, 12), (19, 15), (26, 16), (0, 0), (0, 0)]]


@dataclass
class Step:
    """Everything that a step takes."""

    network: UNet
    grid: Tensor
    batch: Batch
    warp: SplineWarp
    vgg: Vgg16

    def terms(self) -> Terms:
        distance = partial(perceptual_distance, self.vgg)
        return terms(self.network, self.grid, distance, self.batch, self.warp, parts_count=3, unwarp_size=SMALL)

    def gradient_norms(self, loss: Tensor) -> tuple[float, float]:
        parameters = [*self.network.parameters(), self.grid]
        *along, grid = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
        squares = sum(float(gradient.square().sum()) for gradient in along if gradient is not None)
        return math.sqrt(squares), 0.0 if grid is None else float(grid.norm())


@pytest.fixture
def step() -> Step:
    network = UNet(1 / 16).train()
    fill(network)
    with torch.no_grad():
        for parameter in network.out.parameters():
            parameter *= 0.1
    vgg = Vgg16().eval().requires_grad_(False)
    fill(vgg)
    grid = (torch.from_numpy(hashed(4 * SMALL * SMALL, 99)) * 0.3464).float().view(1, 4, SMALL, SMALL).requires_grad_()
    axis = torch.arange(SIZE, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    masks = torch.stack([((x - 15.5 - b) / 12) ** 2 + ((y - 15.5) / (8 + b)) ** 2 < 1 for b in range(4)])
    source, target = torch.tensor(FIRST), torch.tensor(SECOND)
    batch = Batch(
        pictures=waves(SIZE, 0, 1, 2, 3),
        masks=masks.float(),
        labels=torch.where(masks, (x >= 16).long(), 2),
        source_px=source,
        target_px=target,
        visible=(source > 0).all(dim=2),
    )
    shifts = (torch.from_numpy(hashed(40, 5)) * 0.8).float().view(4, 5, 2)
    return Step(network, grid, batch, spline_warp(shifts), vgg)


def test_values_and_gradients(step: Step) -> None:
    found = step.terms()
    expected = {
        "reconstruction": (0.0798044, 0.0640099, 0.012795),
        "total_variation": (0.0147756, 0.165817, 0),
        "contrastive": (2.1781909, 3.39125, 0),
        "equivariance": (0.0812836, 0.0915278, 0),
        "mask": (0.6934305, 0.0536176, 0.026677),
        "parts": (0.0802930, 0.0772722, 0),
    }
    for name, (value, along_network, along_grid) in expected.items():
        term = getattr(found, name)
        assert float(term.detach()) == pytest.approx(value, rel=1e-4), name
        assert step.gradient_norms(term) == pytest.approx((along_network, along_grid), rel=1e-3), name
    total = found.total(Weights())
    assert float(total.detach()) == pytest.approx(288.01236, rel=1e-5)
    assert step.gradient_norms(total) == pytest.approx((2483.19, 0.0130701), rel=1e-3)


def test_warped_masks(step: Step) -> None:
    warped = step.warp(step.batch.masks.unsqueeze(1)).squeeze(1) > 0.5
    both = warped & (step.batch.masks > 0)
    assert [int(mask.sum()) for mask in (step.batch.masks, warped, both)] == [1444, 1452, 1159]


def test_training_takes_the_official_step(step: Step) -> None:
    options = replace(
        official(SIZE), width=1 / 16, batch=4, unwarp_size=SMALL, grid_size=SMALL, weights=Weights(), iterations=3
    )
    batch, pairs = step.batch, torch.tensor([[0, 2], [1, 3]])
    points = torch.zeros(4, 4, 5, 2).index_put((pairs[:, 0], pairs[:, 1]), batch.source_px.float())
    points = points.index_put((pairs[:, 1], pairs[:, 0]), batch.target_px.float())
    visible = torch.zeros(4, 4, 5).index_put((pairs[:, 0], pairs[:, 1]), batch.visible.float())
    none = HeldOut(torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, 0, 2), torch.zeros(0))
    data = TrainingSet(batch.pictures, batch.masks, batch.labels, 3, points, visible, None, none)
    training = Training(data, options, partial(perceptual_distance, step.vgg), seed=0)
    with torch.no_grad():
        training.state.network.load_state_dict(step.network.state_dict())
        training.state.grid.copy_(step.grid)
    drawn = data.batch(pairs)
    assert float(training.step(drawn, step.warp)) == pytest.approx(288.01236, rel=1e-5)
    assert_close(
        training.state.grid.detach()[0, :, 3, 5],
        torch.tensor([0.107672, 0.029631, 0.030388, -0.065728]),
        atol=1e-5,
        rtol=0,
    )
    assert_close(training.flows()[0, 10, 10], torch.tensor([-0.304060, -0.294070]), atol=1e-4, rtol=0)
    losses = [float(training.step(drawn, step.warp)) for _ in range(2)]
    assert losses[1] < losses[0] < 288


def test_one_step_of_adam(step: Step) -> None:
    optimisers = [torch.optim.Adam(step.network.parameters(), 0.003), torch.optim.Adam([step.grid], 0.003)]
    before = identity(SIZE) + step.network(step.batch.pictures).detach()
    assert_close(before[0, 10, 10], torch.tensor([-0.314562, -0.319015]), atol=1e-4, rtol=0)
    step.terms().total(Weights()).backward()
    for optimiser in optimisers:
        optimiser.step()
    assert_close(
        step.grid.detach()[0, :, 3, 5], torch.tensor([0.107672, 0.029631, 0.030388, -0.065728]), atol=1e-5, rtol=0
    )
    after = identity(SIZE) + step.network(step.batch.pictures).detach()
    assert_close(after[0, 10, 10], torch.tensor([-0.304060, -0.294070]), atol=1e-4, rtol=0)
