"""Parts of the network mode: each against its plain form, and what the paper's rules demand of it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from workers.geometry.coordinates import cell_centres, identity_grid, sample
from workers.geometry.similarity import similarity_matrix, transform
from workers.methods.neural_congealing.network.atlas import saliency_logits
from workers.methods.neural_congealing.network.data import TrainingSet, training_set
from workers.methods.neural_congealing.network.distances import feature_distances, feature_distances_plainly
from workers.methods.neural_congealing.network.flips import choose_flips
from workers.methods.neural_congealing.network.gradual import first_image, with_nearest
from workers.methods.neural_congealing.network.layers import ConvLayer, ResBlock
from workers.methods.neural_congealing.network.objective import AtlasView, Seen, Terms, objective
from workers.methods.neural_congealing.network.options import LossWeights, NetworkOptions
from workers.methods.neural_congealing.network.points import atlas_cells, picture_points
from workers.methods.neural_congealing.network.schedule import image_order, moment_at
from workers.methods.neural_congealing.network.stn import MappingNetwork, channels
from workers.methods.neural_congealing.network.training import Training

TINY = NetworkOptions(image_size=32, atlas_size=16, flow_size=32, width=0.0625)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gradients(outputs: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad((outputs * noise(*outputs.shape, seed=9)).sum(), inputs)


@pytest.mark.parametrize(
    "build",
    [
        lambda: ConvLayer(3, 5, 3),
        lambda: ConvLayer(3, 5, 1),
        lambda: ConvLayer(3, 5, 3, down=True),
        lambda: ConvLayer(3, 5, 1, down=True),
        lambda: ConvLayer(3, 5, 1, down=True, active=False),
        lambda: ResBlock(3, 5),
        lambda: ResBlock(3, 5, down=False),
    ],
)
def test_layers_equal_their_plain_form(build: Callable[[], ConvLayer | ResBlock]) -> None:
    layer = build()
    with torch.no_grad():
        for k, parameter in enumerate(layer.parameters()):
            parameter.copy_(noise(*parameter.shape, seed=k))
    x = noise(2, 3, 8, 8).requires_grad_()
    fast, plain = layer(x), layer.plainly(x)
    assert_close(fast, plain)
    inputs = (x, *layer.parameters())
    for own, expected in zip(gradients(fast, *inputs), gradients(plain, *inputs), strict=True):
        assert_close(own, expected, atol=1e-4, rtol=1e-4)


def test_distances_equal_their_plain_form() -> None:
    atlas, keys = noise(6, 4, 4).requires_grad_(), noise(3, 6, 4, 4, seed=1).requires_grad_()
    reach = torch.tensor([True, False, True])
    for k in range(2):
        fast, plain = (f(atlas, keys, reach)[k] for f in (feature_distances, feature_distances_plainly))
        assert_close(fast, plain)
        for own, expected in zip(gradients(fast, atlas, keys), gradients(plain, atlas, keys), strict=True):
            assert_close(own, expected)


def test_empty_features_have_a_distance_and_a_gradient() -> None:
    atlas, keys = torch.zeros(3, 2, 2, requires_grad=True), torch.zeros(1, 3, 2, 2, requires_grad=True)
    distances = torch.stack(feature_distances(atlas, keys, torch.tensor([True])))
    assert torch.isfinite(distances).all()
    assert all(torch.isfinite(gradient).all() for gradient in gradients(distances, atlas, keys))


@torch.no_grad()
def test_untrained_maps_are_the_identity() -> None:
    pictures = noise(2, 3, 64, 64)
    maps = MappingNetwork(32, 0.0625)(pictures, flow=True)
    assert_close(maps.grid(32), identity_grid(32, 32).expand(2, -1, -1, -1))
    cells = identity_grid(32, 32).expand(2, -1, -1, -1)
    assert_close(sample(pictures, maps.grid(32)), sample(pictures, cells))


@torch.no_grad()
def test_a_flow_can_be_read_at_other_sizes() -> None:
    network = restless(MappingNetwork(32, 0.0625))
    maps = network(noise(1, 3, 32, 32), flow=True)
    expected = sample(maps.flow_at(32).permute(0, 3, 1, 2), identity_grid(16, 16).unsqueeze(0))
    assert_close(maps.flow_at(16), expected.permute(0, 2, 3, 1))


@torch.no_grad()
def test_half_precision_convolutions_say_nearly_the_same() -> None:
    network = restless(MappingNetwork(32, 0.0625))
    pictures = noise(2, 3, 32, 32)
    exact = network(pictures, flow=True)
    network.mixed = True
    rough = network(pictures, flow=True)
    assert rough.parameters.dtype == torch.float32
    assert_close(rough.grid(32), exact.grid(32), atol=0.03, rtol=0)
    assert not torch.equal(rough.grid(32), exact.grid(32))


@torch.no_grad()
def restless(network: MappingNetwork) -> MappingNetwork:
    """A network that has left the identity."""
    for k, (name, parameter) in enumerate(network.named_parameters()):
        parameter.copy_(noise(*parameter.shape, seed=k))
        if "linear" in name:
            parameter.mul_(0.01)
        if "flow_out.2" in name:
            parameter.mul_(0.1)
    return network


def small_set(count: int = 2) -> TrainingSet:
    y, x = torch.meshgrid(cell_centres(16), cell_centres(16), indexing="ij")
    keys = torch.stack([torch.stack([torch.sin(3 * x + 0.2 * b), torch.cos(4 * y - b)]) for b in range(count)])
    masks = torch.stack([torch.exp(-2 * ((x - 0.1 * b).square() + y.square())) for b in range(count)]).unsqueeze(1)
    return training_set(
        noise(count, 3, 32, 32), keys, masks, torch.ones_like(masks), None, image_size=32, atlas_size=16
    )


SIMILARITY, FLOW, KEYS, SALIENCY = "stns.0", "stns.1", "keys", "logits"
ROUTES = {
    "keys_mse": {FLOW, KEYS},
    "keys_cosine": {FLOW, KEYS},
    "saliency": {FLOW, SALIENCY},
    "scale": {SIMILARITY},
    "sparsity": {SALIENCY},
    "keys_l1": {KEYS},
    "centre": {SALIENCY},
    "flow": {FLOW},
    "rigidity_local": {FLOW},
    "rigidity_global": {FLOW},
    "similarity_keys_mse": {SIMILARITY},
    "similarity_keys_cosine": {SIMILARITY},
    "similarity_saliency": {SIMILARITY},
}
BOOTSTRAP_ROUTES = {
    "keys_mse": {SIMILARITY, KEYS},
    "keys_cosine": {SIMILARITY, KEYS},
    "saliency": {SIMILARITY, SALIENCY},
    **{name: ROUTES[name] for name in ("scale", "sparsity", "keys_l1", "centre")},
}


@pytest.mark.parametrize(("flow", "routes"), [(True, ROUTES), (False, BOOTSTRAP_ROUTES)])
def test_each_loss_trains_its_own_parts(flow: bool, routes: dict[str, set[str]]) -> None:
    training = Training(small_set(), TINY, seed=0, network=restless(MappingNetwork(32, 0.0625)))
    (terms,) = training.losses(torch.arange(2), flow=flow)
    assert set(terms) == set(routes)
    modules: list[nn.Module] = [training.state.network, training.state.atlas]
    for name, term in terms.items():
        for module in modules:
            module.zero_grad(set_to_none=True)
        torch.autograd.backward(term, retain_graph=True)
        reached = {
            part
            for module in modules
            for own, parameter in module.named_parameters()
            for part in (SIMILARITY, FLOW, KEYS, SALIENCY)
            if own.startswith(part) and parameter.grad is not None and bool((parameter.grad != 0).any())
        }
        assert reached == routes[name], name


def batch(seed: int = 0) -> tuple[AtlasView, Seen]:
    atlas = AtlasView(noise(3, 8, 8, seed=seed).requires_grad_(), noise(8, 8, seed=1).sigmoid().requires_grad_())
    return atlas, Seen(noise(2, 3, 8, 8, seed=2), noise(2, 8, 8, seed=3).sigmoid(), torch.ones(2, 8, 8))


def losses(atlas: AtlasView, seen: Seen, reach: list[bool]) -> Terms:
    return objective(atlas, seen, torch.ones(2), LossWeights(), reach=torch.tensor(reach))


def test_only_included_images_shape_the_atlas() -> None:
    """What two images do to the atlas is the sum of what each does; with nobody included nothing does."""
    atlas, seen = batch()
    names = ("keys_mse", "keys_cosine", "saliency")

    def pull(reach: list[bool]) -> list[Tensor]:
        terms = losses(atlas, seen, reach)
        total = torch.stack([terms[name] for name in names]).sum()
        return list(torch.autograd.grad(total, (atlas.keys, atlas.saliency)))

    for both, first, second in zip(pull([True, True]), pull([True, False]), pull([False, True]), strict=True):
        assert_close(both, first + second)
        assert float((first - second).abs().max()) > 0
    for name in names:
        assert torch.equal(losses(atlas, seen, [True, True])[name], losses(atlas, seen, [False, False])[name])
    left_alone = losses(atlas, seen, [False, False])
    assert all(float(left_alone[name].detach()) == 0 for name in ("sparsity", "keys_l1", "centre"))
    assert all(float(gradient.abs().max()) == 0 for gradient in pull([False, False]))


@pytest.mark.parametrize("flow", [False, True])
@pytest.mark.parametrize("lost", [1, 2])
def test_pictures_out_of_sight_poison_nothing(flow: bool, lost: int) -> None:
    data = small_set()
    data = replace(data, valid=torch.cat([torch.zeros(lost, 1, 16, 16), data.valid[lost:]]))
    training = Training(data, TINY, seed=0, network=restless(MappingNetwork(32, 0.0625)))
    loss = training.step(torch.arange(2), flow=flow)
    assert torch.isfinite(loss)
    for module in (training.state.network, training.state.atlas):
        assert all(torch.isfinite(parameter).all() for parameter in module.parameters())


def test_flips_are_chosen_by_distance() -> None:
    plain, turned = torch.tensor([1.0, 1.0, 1.0, 2.0]), torch.tensor([1.0, 0.99, 0.9, 1.0])
    start = torch.zeros(4, dtype=torch.bool)
    assert choose_flips(plain, turned, start, compat=True).tolist() == [False, True, True, True]
    assert choose_flips(plain, turned, start, compat=False).tolist() == [False, False, True, True]
    assert choose_flips(plain, turned, ~start, compat=False).tolist() == [True, True, True, True]
    assert choose_flips(turned, plain, ~start, compat=False).tolist() == [True, True, False, False]


def test_the_nearest_images_join_first() -> None:
    mean = noise(4, 8, 8)
    keys = mean + torch.tensor([0.5, 0.1, 0.3]).view(3, 1, 1, 1) * noise(3, 4, 8, 8, seed=1)
    masks = torch.zeros(3, 1, 8, 8)
    masks[..., 2:6, 2:6] = 1
    assert first_image(keys, masks, mean, LossWeights()).tolist() == [False, True, False]
    keys[1, :, :2] += 10
    assert first_image(keys, masks, mean, LossWeights()).tolist() == [False, True, False]
    grown = with_nearest(torch.tensor([False, True, False]), torch.tensor([3.0, 0.0, 2.0]))
    assert grown.tolist() == [False, True, True]
    assert with_nearest(grown, torch.zeros(3)).tolist() == [True, True, True]
    assert with_nearest(torch.ones(3, dtype=torch.bool), torch.zeros(3)).tolist() == [True, True, True]


def test_points_come_back_through_whole_cells_to_about_a_pixel() -> None:
    matrix = similarity_matrix(torch.tensor([[0.3, 0.9, 0.05, -0.08]]))
    x, y = identity_grid(128, 128).unbind(-1)
    flow = torch.stack([0.02 * torch.sin(3 * y), 0.02 * torch.cos(2 * x)], dim=-1)
    grid = transform(matrix, (identity_grid(128, 128) + flow)[None])[0]
    points = 78 + 100 * torch.rand(200, 2, generator=torch.Generator().manual_seed(0))
    cells = atlas_cells(matrix[0], flow, points, picture_size=256)
    back = picture_points(grid, cells, picture_size=256)
    assert float((back - points).norm(dim=1).max()) < 1.5
    assert cells.dtype == torch.int64


def test_saliency_starts_between_a_tenth_and_nine_tenths() -> None:
    mean = torch.linspace(0.2, 0.7, 16).view(4, 4)
    start = saliency_logits(mean).sigmoid()
    assert [float(start.min()), float(start.max())] == pytest.approx([0.1, 0.9])
    assert_close(saliency_logits(torch.ones(4, 4)).sigmoid(), torch.full((4, 4), 0.9))


def test_places_in_the_schedule() -> None:
    options = NetworkOptions(bootstrap_epochs=2, flow_epochs=3)
    places = [moment_at(done, 5, options) for done in (0, 5, 6, 14)]
    assert [(place.epoch, place.batch) for place in places] == [(0, 0), (1, 2), (2, 0), (4, 2)]
    assert [(place.flow, place.step, place.total) for place in places] == [
        (False, 0, 6),
        (False, 5, 6),
        (True, 0, 9),
        (True, 8, 9),
    ]
    orders = [image_order(0, epoch, 5).tolist() for epoch in range(4)]
    assert all(sorted(order) == list(range(5)) for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_official_settings() -> None:
    options = NetworkOptions()
    assert [channels(size, options.width) for size in (4, 32, 64, 128)] == [512, 512, 128, 64]
    assert options.rigidity_span == 20
    assert (options.rate, options.atlas_rate) == (1e-4, 8e-4)
    assert (options.flip_interval, options.gradual_interval(12)) == (100, 100)
    assert not options.gradual
    benchmark = NetworkOptions(preset="benchmark")
    assert benchmark.gradual
    assert (benchmark.loss_weights.rigidity_local, benchmark.loss_weights.rigidity_global) == (25, 90)


def test_reduced_settings() -> None:
    """At an eighth of the width the networks have 1.07 million weights."""
    options = replace(NetworkOptions(), width=0.125, atlas_size=64, bootstrap_epochs=150, flow_epochs=150)
    assert [channels(size, options.width) for size in (4, 32, 64)] == [64, 64, 32]
    assert sum(parameter.numel() for parameter in MappingNetwork(64, 0.125).parameters()) == 1_074_630
    assert options.rigidity_span == 10
    assert options.flip_interval == 50
    assert options.rate == pytest.approx(8e-4)
    assert replace(options, network_rate=1e-4).rate == 1e-4
    assert options.gradual_interval(10) * 10 <= 150


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 0}, "batch is 0; use at least 1"),
        ({"flow_epochs": -1}, "flow_epochs is -1"),
        ({"reference": -1}, "reference is -1"),
        ({"flip_epochs": 0}, "flip_epochs is 0"),
        ({"atlas_size": 8}, "atlas_size is 8"),
        ({"network_rate": 0.0}, "network_rate is 0.0; use a positive number"),
        ({"width": 0.0}, "width is 0.0; use a positive number"),
        ({"flow_size": 48}, "flow_size is 48; use 32, 64, 128"),
        ({"image_size": 192}, "image_size is 192; use 128 times"),
        ({"image_size": 64}, "image_size is 64; use 128 times"),
    ],
)
def test_bad_options_are_named(change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NetworkOptions(**change)  # type: ignore[arg-type]


def test_bad_weights_and_pictures_are_named() -> None:
    with pytest.raises(ValueError, match=r"weights\.scale is -1"):
        LossWeights(scale=-1)
    with pytest.raises(ValueError, match="pictures have 96 pixels a side; use 32 x 1, 2, 4"):
        MappingNetwork(32, 0.0625)(noise(1, 3, 96, 96), flow=False)
