"""The adapter: faster than the plain form and equal to it, and loaded by official names."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.evaluation.official_geo_aware import aggregated, described, stacked
from workers.methods.geo_aware_adapter.network import Adapter, load_adapter_state

CHANNELS, CELLS = (8, 12, 16), 12


def made(seed: int = 0) -> Adapter:
    torch.manual_seed(seed)
    adapter = Adapter(CHANNELS, width=16, hidden=8, groups=4)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return adapter


def blocks() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, c, g, g, generator=generator) for c, g in zip(CHANNELS, (12, 6, 3), strict=True)]


def test_it_equals_the_plain_form_and_so_do_its_gradients() -> None:
    adapter, inputs = made(), [block.requires_grad_() for block in blocks()]
    names, parameters = zip(*adapter.named_parameters(), strict=True)
    weights = dict(zip(names, parameters, strict=True))
    plain = aggregated(weights, stacked(inputs, CELLS), CHANNELS, groups=4)
    ours = adapter(inputs, CELLS)
    assert_close(ours, plain, atol=1e-5, rtol=0)
    assert_close(adapter.describe(inputs, CELLS), described(plain), atol=1e-5, rtol=0)
    pull = torch.randn(ours.shape, generator=torch.Generator().manual_seed(2))
    wanted = [*inputs, *parameters]
    found, expected = (torch.autograd.grad((out * pull).sum(), wanted, allow_unused=True) for out in (ours, plain))
    unused = [name for name, gradient in zip([*"abc", *names], expected, strict=True) if gradient is None]
    assert unused == ["logit_scale", "self_logit_scale"]
    for first, second in zip(found, expected, strict=True):
        if second is not None:
            assert_close(first, second, atol=1e-5 * float(second.abs().max().clamp(min=1)), rtol=0)


def test_cells_have_length_one_or_are_empty() -> None:
    lengths = made().describe(blocks(), CELLS).norm(dim=1)
    assert lengths.shape == (2, CELLS, CELLS)
    assert_close(lengths, torch.ones_like(lengths))
    silent = made()
    with torch.no_grad():
        for layer in silent.bottleneck_layers:
            for norm in (layer[0].conv3.norm, layer[0].shortcut.norm if layer[0].shortcut else layer[0].conv3.norm):
                norm.weight.zero_()
                norm.bias.fill_(-1)
    channels = [block.requires_grad_() for block in blocks()]
    empty = silent.describe([channels[0], channels[1], channels[2] * 0 - 9], CELLS)
    assert (empty == 0).all()
    (gradient,) = torch.autograd.grad(empty.sum(), [channels[0]])
    assert (gradient == 0).all()


def test_other_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the blocks have \(8, 12\) channels, the adapter is for \(8, 12, 16\)"):
        made()(blocks()[:2], CELLS)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="32 groups do not divide width 768 and hidden 100"):
        Adapter((4,), hidden=100)
    with pytest.raises(ValueError, match="give those of at least one block"):
        Adapter(())


def test_weights_come_back_by_name_with_surplus_mixing_weights_left_out() -> None:
    first, second = made(0), made(1)
    state = {name: tensor.half().float() for name, tensor in first.state_dict().items()}
    more = state | {"mixing_weights": torch.cat([state["mixing_weights"], torch.full((5,), 9.0)])}
    load_adapter_state(second, more)
    found = second.state_dict()
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixing_weights": torch.ones(2)}, r"mixing_weights is \(2,\), not \(3,\)"),
        ({"bottleneck_layers.1.0.conv2.weight": None}, r"bottleneck_layers\.1\.0\.conv2\.weight is missing"),
        ({"bottleneck_layers.0.0.conv1.bias": torch.ones(8)}, r"bottleneck_layers\.0\.0\.conv1\.bias is unknown"),
        ({"bottleneck_layers.0.0.shortcut.norm.bias": torch.ones(4)}, r"norm\.bias is \(4,\), not \(16,\)"),
    ],
)
def test_weights_of_something_else_are_refused_and_nothing_is_loaded(
    change: dict[str, Tensor | None], message: str
) -> None:
    adapter, other = made(0), {**made(1).state_dict(), **change}
    before = {name: tensor.clone() for name, tensor in adapter.state_dict().items()}
    given = {name: tensor for name, tensor in other.items() if tensor is not None}
    with pytest.raises(ValueError, match=message):
        load_adapter_state(adapter, given)
    assert all(torch.equal(tensor, before[name]) for name, tensor in adapter.state_dict().items())
