"""The network's parts against values of the official code of ASIC (arXiv 2303.16201)."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.testing import assert_close

from tests.golden.asic_inputs import fill, waves
from workers.geometry.coordinates import index_to_normalised, normalised_to_index
from workers.methods.asic.network.canonical import flow_at, identity, unit, unwarp
from workers.methods.asic.network.losses import contrastive, part_centroids, parts, total_variation
from workers.methods.asic.network.perceptual import Vgg16, layer_distances, perceptual_distance
from workers.methods.asic.network.schedule import learning_rate
from workers.methods.asic.network.spline_warps import Convention, spline_warp
from workers.methods.asic.network.transfer import from_canonical, to_canonical


def pixels(size: int) -> tuple[Tensor, Tensor]:
    axis = torch.arange(size, dtype=torch.float32)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return x, y


def small_flow() -> Tensor:
    x, y = pixels(4)
    return torch.stack([0.1 * x + 0.01 * y, -0.05 * x + 0.2 * y], dim=-1)[None]


POINTS = torch.tensor([[[0.0, 0], [3, 3], [1.5, 1.5], [2, 1], [0, 3]]])


def test_normalising() -> None:
    found = index_to_normalised(torch.tensor([0, 255, 127.5, 64, 192]), size=256)
    assert_close(found, torch.tensor([-0.9960938, 0.9960938, 0, -0.4960937, 0.5039062]))
    assert_close(identity(4)[0, :, 0], torch.tensor([-1, -0.3333333, 0.3333333, 1]))


def test_there() -> None:
    expected = [[0.04125, 0.05625], [0.28875, 0.39375], [0.165, 0.225], [0.19875, 0.13125], [0.06375, 0.50625]]
    assert_close(to_canonical(small_flow(), POINTS)[0], torch.tensor(expected))


def test_back() -> None:
    places = torch.tensor([[[0, 0], [0.3, 0.3], [0.15, 0.1], [0.21, 0.05], [-5, 9]]])
    assert from_canonical(small_flow(), places)[0].tolist() == [[0, 0], [3, 2], [2, 1], [2, 1], [0, 3]]
    assert from_canonical(small_flow(), places, size=8)[0].tolist() == [[0, 0], [6, 5], [3, 2], [5, 2], [0, 7]]


def test_back_with_ties_and_masks() -> None:
    flow, mask = torch.zeros(1, 3, 3, 2), torch.zeros(1, 3, 3)
    anywhere = torch.tensor([[[0.4, -0.2]]])
    assert from_canonical(flow, anywhere).tolist() == [[[0, 0]]]
    assert from_canonical(flow, anywhere, mask).tolist() == [[[0, 0]]]
    mask[0, 1, 2], mask[0, 2, 0], mask[0, 0, 0] = 1, 0.5, 0.09
    assert from_canonical(flow, anywhere, mask).tolist() == [[[2, 1]]]


def test_from_image_to_image() -> None:
    places = to_canonical(small_flow(), POINTS)
    found = from_canonical(small_flow().flip(2), places)
    assert found[0].tolist() == [[3, 0], [0, 3], [2, 1], [1, 1], [2, 3]]
    expected = [[1.5825, 1.6125], [2.0775, 2.2875], [1.83, 1.95], [1.8975, 1.7625], [1.6275, 2.5125]]
    assert_close(normalised_to_index(places, size=4)[0], torch.tensor(expected))


def test_unwarp() -> None:
    x, y = pixels(8)
    grid = torch.stack([torch.sin(0.3 * x + 0.5 * y + c) for c in range(4)])[None]
    flow = (0.9 * identity(8) + 0.05)[None]
    seen = unwarp(grid, flow, 4)[0]
    expected = [
        [0.7008260, 0.9584922, 0.9449379, 0.6662031],
        [0.9713039, 0.7718366, 0.3583947, -0.1543997],
        [0.5150688, 0.0196016, -0.4759629, -0.8364495],
        [-0.3209204, -0.7409677, -0.9489430, -0.8899490],
    ]
    assert_close(seen[0], torch.tensor(expected), atol=1e-5, rtol=0)
    assert_close(seen[3].diagonal(), torch.tensor([-0.5939546, -0.8472013, 0.3537131, 0.9320949]), atol=1e-5, rtol=0)
    clamped = [0, 0, 0.3358886, 0.7723926, 0.9811310, 0.9129965, 0.8632093, 0.8632093]
    assert_close(unwarp(grid, 2 * flow, 8)[0, 0, 0], torch.tensor(clamped), atol=1e-5, rtol=0)


def test_total_variation() -> None:
    x, y = pixels(8)
    offsets = torch.stack([0.5 * torch.sin(x * y), 3 * torch.cos(x + 2 * y)], dim=-1)[None]
    assert float(total_variation(offsets)) == pytest.approx(2.1725922, abs=1e-5)
    assert float(total_variation(torch.cat([offsets, 0 * offsets]))) == pytest.approx(1.0862961, abs=1e-5)


SOURCE_PX = torch.tensor([[[1.0, 1], [5, 2], [3, 6], [0, 0]]])
TARGET_PX = torch.tensor([[[2.0, 1], [6, 3], [2, 5], [0, 0]]])
VISIBLE = torch.tensor([[True, True, True, False]])


def matched() -> tuple[Tensor, Tensor]:
    source = (0.9 * identity(8) + 0.05)[None].requires_grad_()
    target = (source.detach() * torch.tensor([0.8, 1.1]) + torch.tensor([0.1, -0.05])).requires_grad_()
    return source, target


@pytest.mark.parametrize(
    ("temperature", "loss", "norms", "at_source", "at_target"),
    [
        (1.0, 1.7336005, (0.3888039, 0.4172609), (-0.1330960, 0.1344177), (-0.0128174, 0.1317797)),
        (0.1, 0.0902174, (0.5117619, 0.3638859), (-0.4037868, 0.1049325), (5.43e-5, 0.0014632)),
    ],
)
def test_contrastive(
    temperature: float,
    loss: float,
    norms: tuple[float, float],
    at_source: tuple[float, float],
    at_target: tuple[float, float],
) -> None:
    source, target = matched()
    places = flow_at(source, unit(SOURCE_PX, 8)), flow_at(target, unit(TARGET_PX, 8))
    found = contrastive(*places, VISIBLE, temperature=temperature)
    assert found.item() == pytest.approx(loss, abs=1e-5)
    along = torch.autograd.grad(found, (source, target))
    assert_close(torch.stack([gradient.norm() for gradient in along]), torch.tensor(norms), atol=1e-5, rtol=0)
    assert_close(along[0][0, 1, 1], torch.tensor(at_source), atol=1e-5, rtol=0)
    assert_close(along[1][0, 3, 6], torch.tensor(at_target), atol=1e-5, rtol=0)


def test_contrastive_of_other_slots() -> None:
    flows = matched()
    source, target = flow_at(flows[0], unit(SOURCE_PX, 8)), flow_at(flows[1], unit(TARGET_PX, 8))
    dropped = contrastive(source[:, :3], target[:, :3], VISIBLE[:, :3])
    weighted = contrastive(source, target, VISIBLE, weights=torch.tensor([[1.0, 0, 1, 1]]))
    swapped = contrastive(target, source, VISIBLE)
    found = [float(loss) for loss in (dropped, weighted, swapped)]
    assert found == pytest.approx([1.3417726, 1.2534264, 1.8153261], abs=1e-5)
    assert float(contrastive(source, target, torch.zeros_like(VISIBLE))) == 0


def test_learning_rates() -> None:
    expected = {
        1: 0.003, 100: 0.00299926, 2500: 0.00256066, 5000: 0.0015, 7500: 0.00043934, 9999: 0.0, 10000: 0.0027,
        15000: 0.002304594, 20000: 0.00135, 30000: 0.00243, 40000: 0.002074135, 70000: 0.002187,
    }  # fmt: skip
    assert [learning_rate(step) for step in expected] == pytest.approx(list(expected.values()), abs=1e-8)


SHIFTS = torch.tensor([[[0.3, -0.2], [0.1, 0.4], [-0.4, 0], [0.2, -0.1], [-0.3, 0.25]]])


def test_spline_warp() -> None:
    warp = spline_warp(SHIFTS.double())
    kernel = [
        [-0.1753613, 0.0872324], [-0.0514412, 0.0109346], [0.0922841, -0.0585054], [-0.1227099, 0.0627391],
        [0.2572283, -0.1024007],
    ]  # fmt: skip
    affine = [[0.6431286, -0.3042533], [1.5868280, -0.1293346], [-0.2567340, 0.9637597]]
    assert_close(warp.kernel[0].float(), torch.tensor(kernel), atol=1e-5, rtol=0)
    assert_close(warp.affine[0].float(), torch.tensor(affine), atol=1e-5, rtol=0)
    points = torch.tensor([[[0, 0], [-0.7, 1.4], [0.5, -0.5], [-0.3, 0.25], [1, 1]]], dtype=torch.float64)
    ends = [[0.4648316, -0.2332746], [-0.7894026, 1.0327131], [0.9888580, -0.6141411], [0, 0], [0.8061464, 1.0528774]]
    assert_close(warp.at(points)[0].float(), torch.tensor(ends), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("convention", "top", "middle"),
    [
        (
            "consistent",
            [0, 0.205555, 0.759303, 0.983020, 0.778329, 0.415882, 0.074599, 0],
            [0.221875, 0.788058, 1.165183, 1.155649, 0.901588, 0.572060, 0.096701, 0],
        ),
        (
            "mixed",
            [0, 0.004945, 0.502413, 0.661969, 0.486822, 0.221179, 0, 0],
            [0.027497, 0.586649, 1.102618, 1.160675, 0.873825, 0.460444, 0, 0],
        ),
    ],
)
def test_warped_picture(convention: Convention, top: list[float], middle: list[float]) -> None:
    x, y = pixels(8)
    warped = spline_warp(SHIFTS)((torch.sin(0.4 * x) + 0.1 * y)[None, None], convention=convention)[0, 0]
    assert_close(warped[[0, 3]], torch.tensor([top, middle]), atol=1e-5, rtol=0)


def test_perceptual_distance() -> None:
    network = Vgg16().eval().requires_grad_(False)
    fill(network)
    x, y = pixels(32)
    first = waves(32, 0)
    second = torch.stack([torch.cos(0.15 * x - 0.1 * y * (c + 1)) for c in range(3)])[None]
    layers = layer_distances(network(first), network(second))
    assert_close(layers, torch.tensor([0.673156, 0.452193, 0.203192, 0.094858, 0.040930]), atol=1e-4, rtol=0)
    assert float(perceptual_distance(network, first, second)) == pytest.approx(0.0813516, abs=1e-5)
    assert float(perceptual_distance(network, first, first)) == 0


def test_parts() -> None:
    labels = torch.tensor([[[0, 0, 1], [1, 2, 2], [2, 2, 2]]])
    i = torch.arange(9.0)
    flow = torch.stack([0.1 * i, 0.2 * (i % 4)], dim=1).view(1, 3, 3, 2)
    mask = (labels != 2).float()
    mask[0, 2, 2] = 1
    assert_close(part_centroids(flow, labels, 3), torch.tensor([[0.05, 0.1], [0.25, 0.5], [0.6, 0.24]]))
    assert float(parts(flow, labels, mask, 3)) == pytest.approx(0.0577778, abs=1e-6)
    assert math.isfinite(float(parts(flow, labels, mask, 4)))


def test_mask_loss() -> None:
    found = binary_cross_entropy_with_logits(torch.tensor([0.3, -0.2, 1.5, -2]), torch.tensor([1, 0, 0.5, 0]))
    assert float(found) == pytest.approx(0.5577089, abs=1e-6)
