"""The loss over a few pictures, against that of one pair at a time and of all cells."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.testing import assert_close

from tests.workers.methods.geo_aware_adapter.drawn import BECOMES, CELLS, CHANNELS, KEYPOINTS, random_set
from workers.evaluation.official_geo_aware import Seen, aggregated, described, mirrored, pair_loss, stacked
from workers.methods.geo_aware_adapter.data import TrainingSet
from workers.methods.geo_aware_adapter.losses import dense_loss, descriptors_at, found_places, wanted_places
from workers.methods.geo_aware_adapter.network import Adapter
from workers.methods.geo_aware_adapter.objective import TERMS, Keypoints, Pairing, Weights, pair_losses

WEIGHTS = Weights(double_flip=1.0, self_flip=0.25, single_flip=0.7)
PAIRS = torch.tensor([[0, 1], [2, 0], [1, 2], [3, 1], [0, 3], [2, 3]])
NOISE = torch.randn(len(PAIRS), TERMS, KEYPOINTS, 2, generator=torch.Generator().manual_seed(5))
SCALE = 0.3


def adapter() -> Adapter:
    torch.manual_seed(3)
    return Adapter(CHANNELS, width=8, hidden=4, groups=2)


def ours(network: Adapter, data: TrainingSet) -> Tensor:
    assert data.mirrored is not None
    views = [torch.cat(both) for both in zip(data.blocks, data.mirrored, strict=True)]
    known = Keypoints(data.points, data.visible, data.sides).with_mirrored(BECOMES.expand(4, -1), CELLS)
    pairing = Pairing(PAIRS[:, 0], PAIRS[:, 1], NOISE, SCALE)
    maps = network.describe(views, CELLS)
    return pair_losses(maps, known, pairing, WEIGHTS, network.logit_scale, subcell=False).total


def official(network: Adapter, data: TrainingSet) -> Tensor:
    """Four passes of the plain network for each pair."""
    weights = dict(network.named_parameters())
    losses = []
    for (first, second), noise in zip(PAIRS.tolist(), NOISE, strict=True):
        seen = [_seen(weights, data, image, flip=flip) for flip in (False, True) for image in (first, second)]
        reach = SCALE / 2 * torch.tensor([seen[1].side, seen[1].side, seen[0].side, seen[1].side])
        terms = (WEIGHTS.double_flip, WEIGHTS.self_flip, WEIGHTS.single_flip)
        scale = network.logit_scale.exp()
        losses.append(pair_loss(*seen, weights=terms, scale=scale, noise=noise * reach.view(TERMS, 1, 1)))
    return torch.stack(losses).mean()


def _seen(weights: dict[str, Tensor], data: TrainingSet, image: int, *, flip: bool) -> Seen:
    features = data.mirrored if flip and data.mirrored is not None else data.blocks
    stack = stacked([block[image : image + 1] for block in features], CELLS)
    known = data.points[image], data.visible[image]
    places, visible = mirrored(*known, BECOMES, CELLS) if flip else known
    maps = described(aggregated(weights, stack, CHANNELS, groups=2))
    return Seen(maps[0], places, visible, float(data.sides[image]))


def test_it_equals_the_plain_form_and_so_do_its_gradients() -> None:
    network, data = adapter(), random_set(4)
    values = [form(network, data) for form in (ours, official)]
    assert_close(values[0], values[1], atol=1e-5, rtol=0)
    names, parameters = zip(*network.named_parameters(), strict=True)
    found, expected = (torch.autograd.grad(value, parameters, allow_unused=True) for value in values)
    assert [name for name, gradient in zip(names, expected, strict=True) if gradient is None] == ["self_logit_scale"]
    for name, first, second in zip(names, found, expected, strict=True):
        if second is not None:
            assert_close(first, second, atol=2e-5 * float(second.abs().max().clamp(min=1)), rtol=0, msg=name)


def test_kinds_and_pairs_without_common_keypoints_do_not_count() -> None:
    network, data = adapter(), random_set(4)
    visible = torch.zeros(4, KEYPOINTS, dtype=torch.bool)
    visible[0, 4] = visible[1, 4] = visible[2, 0] = visible[3, 2] = True
    blind = dataclasses.replace(data, visible=visible)
    nothing = torch.cat([PAIRS[:1], PAIRS[5:]])
    weights, still = dict(network.named_parameters()), torch.zeros(TERMS, KEYPOINTS, 2)
    seen = [_seen(weights, blind, image, flip=flip) for flip in (False, True) for image in (0, 1)]
    alone = pair_loss(*seen, weights=(1, 0.25, 0.7), scale=network.logit_scale.exp(), noise=still)
    assert data.mirrored is not None
    views = [torch.cat(both) for both in zip(data.blocks, data.mirrored, strict=True)]
    known = Keypoints(data.points, visible, data.sides).with_mirrored(BECOMES.expand(4, -1), CELLS)
    pairing = Pairing(nothing[:, 0], nothing[:, 1], NOISE[:2], 0.0)
    losses = pair_losses(network.describe(views, CELLS), known, pairing, WEIGHTS, network.logit_scale, subcell=False)
    assert_close(losses.total, alone, atol=1e-5, rtol=0)
    assert float(losses.sparse.detach()) == 0
    torch.autograd.backward(losses.total)
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in network.parameters())


def maps(count: int) -> Tensor:
    return normalize(torch.randn(count, 6, CELLS, CELLS, generator=torch.Generator().manual_seed(4)), dim=1)


def test_both_conventions_agree_on_centres_of_cells() -> None:
    data = random_set(4)
    points = data.points.floor().clamp(max=CELLS - 1) + 0.5
    known = Keypoints(points, data.visible, data.sides)
    pairing = Pairing(PAIRS[:, 0], PAIRS[:, 1], NOISE, SCALE)
    scale = torch.tensor(1.0)
    exact, official = (
        pair_losses(maps(4), known, pairing, WEIGHTS, scale, subcell=subcell).total for subcell in (True, False)
    )
    assert_close(exact, official, atol=1e-5, rtol=0)
    moved = dataclasses.replace(known, points=points + 0.3)
    exact, official = (
        pair_losses(maps(4), moved, pairing, WEIGHTS, scale, subcell=subcell).total for subcell in (True, False)
    )
    assert abs(float(exact - official)) > 0.01


def peaked(x: float, y: float) -> Tensor:
    """Features (2 n, g, g) that tell the place, smoothly."""
    centres = torch.arange(CELLS) + 0.5
    knots = torch.arange(-8, CELLS + 9, dtype=torch.float32)
    rows = torch.exp(-((centres[:, None] + y - knots) ** 2) / 8)
    columns = torch.exp(-((centres[:, None] + x - knots) ** 2) / 8)
    stack = torch.cat([rows.T[:, :, None].expand(-1, -1, CELLS), columns.T[:, None, :].expand(-1, CELLS, -1)])
    return normalize(stack, dim=0)


@pytest.mark.parametrize(("subcell", "highest"), [(True, 0.05), (False, 0.75)])
def test_exact_places_are_found_closer_than_whole_cells(subcell: bool, highest: float) -> None:
    shift = torch.tensor([1.3, -0.6])
    views = torch.stack([peaked(0, 0), peaked(float(-shift[0]), float(-shift[1]))])
    source = 2 + 3 * torch.rand(1, 40, 2, generator=torch.Generator().manual_seed(0))
    target = source + shift
    both = torch.ones(1, 40, dtype=torch.bool)
    queries = descriptors_at(views[:1], source, subcell=subcell)
    found = found_places(queries, both, torch.tensor([1]), views)
    error = float(dense_loss(found, wanted_places(source, target, subcell=True), both))
    assert error < highest
    assert subcell or error > 0.25


def test_no_noise_reaches_places_of_small_objects_far() -> None:
    data = random_set(4)
    known = [Keypoints(data.points, data.visible, side * torch.ones(4)) for side in (1e-6, 40.0)]
    pairing = Pairing(PAIRS[:, 0], PAIRS[:, 1], NOISE, SCALE)
    quiet = dataclasses.replace(pairing, noise_scale=0.0)
    scale = torch.tensor(1.0)
    small, large, still = (
        float(pair_losses(maps(4), keypoints, pairs, WEIGHTS, scale, subcell=True).total)
        for keypoints, pairs in ((known[0], pairing), (known[1], pairing), (known[1], quiet))
    )
    assert small == pytest.approx(still, abs=1e-4)
    assert large > still + 0.5
