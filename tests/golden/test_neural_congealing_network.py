"""The networks and their training against values of the official code of Neural Congealing (arXiv 2302.03956)."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from workers.geometry.coordinates import sample
from workers.methods.neural_congealing.network.data import training_set
from workers.methods.neural_congealing.network.layers import ConvLayer, Linear, ResBlock, halved
from workers.methods.neural_congealing.network.options import NetworkOptions
from workers.methods.neural_congealing.network.pck import Keypoints, PointPair, pck, point_pair
from workers.methods.neural_congealing.network.points import atlas_cells, picture_points
from workers.methods.neural_congealing.network.stn import MappingNetwork, Maps, convex_upsampling
from workers.methods.neural_congealing.network.training import Training

PROBES = [0, 21, 42, 63]
CARRIED = torch.tensor([[20.0, 30.0], [64.0, 64.0], [100.0, 90.0]])


def numbers(text: str) -> Tensor:
    return torch.tensor([[float(number) for number in row.split()] for row in text.split("/")])


def close(actual: Tensor, expected: str, *, atol: float = 2e-5) -> None:
    wanted = numbers(expected)
    assert_close(actual.detach().reshape(wanted.shape), wanted, atol=atol, rtol=0)


def filler(count: int, seed: int) -> Tensor:
    k = torch.arange(count, dtype=torch.int64)
    return (2 * ((31 * k * k + 7919 * k + 1013 * seed) % 10007).double() / 10007 - 1).float()


def official_name(module: nn.Module, name: str) -> str:
    """The name of a parameter in the official code, where blur, convolution and activation have a number each."""
    owner, _, leaf = name.rpartition(".")
    layer = module.get_submodule(owner)
    if isinstance(layer, ConvLayer):
        leaf = f"{int(layer.down)}.weight" if leaf == "weight" else f"{int(layer.down) + 1}.bias"
    return f"{owner}.{leaf}" if owner else leaf


@torch.no_grad()
def fill(module: nn.Module) -> None:
    named = sorted((official_name(module, name), parameter) for name, parameter in module.named_parameters())
    for j, (_, parameter) in enumerate(named, start=1):
        parameter.copy_(filler(parameter.numel(), j).view_as(parameter))


def sums(x: Tensor) -> list[float]:
    return [float(x.detach().double().sum()), float(x.detach().double().abs().sum())]


UPSAMPLED_X = """.031846 .018329 .085328 .079613 / .109596 -.018547 .034368 .02716 / .088259 .079096 .069626 .083396 /
    .0363 .042241 .126976 .129432"""
UPSAMPLED_Y = """.004967 .037889 -.005215 -.031431 / .019509 .02907 .004697 .029766 /
    -.011869 .023282 -.014061 -.076403 / -.021757 -.013077 .011792 -.043498"""


def test_convex_upsampling() -> None:
    coarse = torch.tensor([[[0.1, 0.2], [0, -0.1]], [[-0.1, 0], [0.05, 0.1]]]).unsqueeze(0)
    fine = convex_upsampling(coarse, (2 * filler(144, 3)).view(1, 36, 2, 2), 2)
    close(fine[0, ..., 0], UPSAMPLED_X)
    close(fine[0, ..., 1], UPSAMPLED_Y)
    even = convex_upsampling(coarse, torch.zeros(1, 36, 2, 2), 2)
    assert_close(even[..., 0], torch.full((1, 4, 4), 0.044444), atol=2e-5, rtol=0)


def test_pictures_are_halved() -> None:
    ramp = torch.arange(64.0).view(1, 1, 8, 8)
    expected = "6.75 8.5 10.5 12.25 / 20.75 22.5 24.5 26.25 / 36.75 38.5 40.5 42.25 / 50.75 52.5 54.5 56.25"
    close(halved(ramp), expected)


LAYER_ROW = "-.179014 -.172434 -.230588 -.308173 -.146477 -.189284 -.09282 -.096308"
DOWN_LAYER = """-.158011 -.175827 -.200646 -.157387 / -.154553 -.146595 -.131915 -.162159 /
    -.176256 -.166832 -.148177 -.149368 / -.176679 -.165216 -.146288 -.167166"""
RES_BLOCK = """.155184 .268281 .322898 .028722 / .191545 .279585 .292741 .089128 / .093177 .208131 .21546 .130304 /
    .01297 .037849 .004828 -.019908"""


@pytest.mark.parametrize("plainly", [False, True], ids=["as used", "plainly"])
def test_blocks(plainly: bool) -> None:
    layer, down, block = ConvLayer(2, 3, 3), ConvLayer(2, 3, 3, down=True), ResBlock(2, 3)
    x = filler(128, 1).view(1, 2, 8, 8)
    outputs = []
    for module in (layer, down, block):
        fill(module)
        outputs.append(module.plainly(x) if plainly else module(x))
    assert sums(outputs[0]) == pytest.approx([138.138, 158.7314], rel=1e-5)
    close(outputs[0][0, 0, 0], LAYER_ROW)
    assert sums(outputs[1]) == pytest.approx([34.5573, 39.7235], rel=1e-5)
    close(outputs[1][0, 0], DOWN_LAYER)
    assert sums(outputs[2]) == pytest.approx([14.50595, 19.68876], rel=1e-5)
    close(outputs[2][0, 0], RES_BLOCK)


def test_linear_layer() -> None:
    linear = Linear(4, 2)
    fill(linear)
    close(linear(torch.tensor([[1.0, -2.0, 3.0, -4.0]])), "-.456443 -.467551")


def test_official_sizes() -> None:
    with torch.device("meta"):
        counts = [sum(p.numel() for p in net.parameters()) for net in MappingNetwork(128).stns]
        smaller = sum(p.numel() for p in MappingNetwork(64).parameters())
    assert counts == [22_424_644, 20_629_634]
    assert smaller == 47_798_598


@pytest.fixture(scope="module")
def network() -> MappingNetwork:
    """Of 64 cells and full width, for tests to fill."""
    with torch.device("meta"):
        empty = MappingNetwork(64)
    return empty.to_empty(device="cpu")


def wave_picture(frequencies: tuple[float, float]) -> Tensor:
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    across, down = frequencies
    return torch.stack([0.5 + 0.5 * torch.sin(across * (c + 1) * x + down * y + c) for c in range(3)])


@torch.no_grad()
def scale_heads(network: MappingNetwork, *, similarity: float, flow: float) -> None:
    for name, parameter in network.named_parameters():
        if "warp_head.linear" in name:
            parameter.mul_(similarity)
        if "flow_out.2" in name:
            parameter.mul_(flow)


@torch.no_grad()
def test_whole_network(network: MappingNetwork) -> None:
    fill(network)
    scale_heads(network, similarity=0.005, flow=0.02)
    picture = wave_picture((0.05, 0.03)).unsqueeze(0)
    maps = network(picture, flow=True)
    close(maps.parameters, "-1.031736 .977335 -.026394 -.038292", atol=5e-4)
    close(maps.matrices, ".501696 .83874 -.026394 / -.83874 .501696 -.038292", atol=5e-4)
    expected = """.002505 .018515 .015566 .007981 / .0011 .028785 .027486 .015403 /
        .008677 .033009 .031893 .020959 / .002433 .014265 .015002 .005119"""
    close(maps.flow_at(64)[0, PROBES][:, PROBES, 0], expected, atol=5e-4)
    close(maps.flow_at(64)[0, 0, PROBES, 1], "-.01125 -.034988 -.033372 -.026033", atol=5e-4)
    grid = maps.grid(64)
    close(grid[0, 0, PROBES, 0], "-1.354065 -1.036705 -.707591 -.376004", atol=5e-4)
    close(grid[0, 0, PROBES, 1], ".285742 -.29002 -.837159 -1.377538", atol=5e-4)
    congealed = sample(picture, grid)
    assert float(congealed.mean()) == pytest.approx(0.509088, abs=5e-4)
    close(congealed[0, 0, 0, PROBES], ".81746 .987647 .967405 .960196", atol=5e-4)
    check_carried_points(maps, grid)


def check_carried_points(maps: Maps, grid: Tensor) -> None:
    cells = atlas_cells(maps.matrices[0], maps.flow_at(64)[0], CARRIED, picture_size=128)
    assert cells.tolist() == [[34, 6], [30, 35], [28, 57]]
    back = picture_points(grid[0], cells, picture_size=128)
    close(back, "20.1943 29.1952 / 64.7180 63.7747 / 99.7078 90.2439", atol=0.02)


STEPS = {
    False: "367.0681 15.7614 18.2539 24.2007 0 / 368.0435 16.4027 19.0188 23.9033 .007571 / "
    "366.6100 15.8528 18.3721 23.7295 .001259",
    True: "1697.6418 16.1005 18.6713 23.6572 -.004286 / 1697.7919 16.0655 18.6245 23.6630 -.005620 / "
    "1697.0238 15.9800 18.5181 23.7217 -.004063",
}
FIRST_TERMS = {
    False: {"sparsity": 281.0909, "keys_l1": 25.3388, "centre": 2.4222},
    True: {"rigidity_local": 282.7161, "rigidity_global": 989.5063},
}


def wave_set() -> tuple[Tensor, Tensor, Tensor]:
    """Pictures, keys and masks of the two images to train on."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    moved = [(x - 3 * b, y + 2 * b) for b in range(2)]
    keys = [torch.stack([torch.sin(0.11 * u + 0.07 * v + 0.9 * c) for c in range(4)]) for u, v in moved]
    masks = [torch.sigmoid(4 - 0.01 * ((u - 31.5).square() + (v - 31.5).square())) for u, v in moved]
    pictures = [wave_picture((0.05, 0.03 * (b + 1))) for b in range(2)]
    return torch.stack(pictures), torch.stack(keys), torch.stack(masks).unsqueeze(1)


def test_three_steps_of_each_phase(network: MappingNetwork) -> None:
    pictures, keys, masks = wave_set()
    data = training_set(pictures, keys, masks, torch.ones_like(masks), None, image_size=128, atlas_size=64)
    options = NetworkOptions(image_size=128, atlas_size=64, flow_size=64)
    fill(network)
    scale_heads(network, similarity=0, flow=0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.mul_(0.1)
    training = Training(data, options, seed=0, network=network)
    both = torch.arange(2)
    for flow, table in STEPS.items():
        for k, row in enumerate(numbers(table).tolist()):
            with torch.no_grad():
                (terms,) = training.losses(both, flow=flow)
                theta = float(network(data.pictures[:1], flow=False).parameters[0, 0])
            loss = float(training.step(both, flow=flow))
            found = [loss, *(float(terms[name]) for name in ("keys_mse", "keys_cosine", "saliency"))]
            assert found == pytest.approx(row[:4], rel=1e-4 if k == 0 else 3e-3)
            assert theta == pytest.approx(row[4], abs=3e-4)
            if k == 0:
                chosen = {name: float(terms[name]) for name in FIRST_TERMS[flow]}
                assert chosen == pytest.approx(FIRST_TERMS[flow], rel=1e-4)


def test_correct_points_are_counted_up_to_the_threshold() -> None:
    estimated = torch.tensor([[10.0, 10], [20, 20], [30, 30], [5, 5]])
    truth = torch.tensor([[13.0, 14], [20, 30], [30, 30], [0, 0]])
    counted = torch.tensor([True, True, True, False])
    assert pck([estimated], [PointPair(estimated, truth, counted)], [5.0]) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("compat", "counted"), [(True, [True, False]), (False, [False, True])])
def test_parts_change_sides_in_a_mirrored_picture(compat: bool, counted: list[bool]) -> None:
    """The official code leaves the visibilities behind when it puts the points in another order."""
    left_hidden = Keypoints(torch.tensor([[40.0, 7], [10, 5]]), torch.tensor([True, False]), mirrored=True)
    seen = Keypoints(torch.tensor([[20.0, 7], [50, 5]]), torch.tensor([True, True]), mirrored=False)
    pair = point_pair(left_hidden, seen, [1, 0], size=256, compat=compat)
    assert pair.source.tolist() == [[245.0, 5.0], [215.0, 7.0]]
    assert pair.target.tolist() == seen.points.tolist()
    assert pair.counted.tolist() == counted
    assert point_pair(left_hidden, left_hidden, [1, 0], size=256).source.tolist() == [[215.0, 7.0], [245.0, 5.0]]
