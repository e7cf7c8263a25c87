"""The adapter of Telling Left from Right (arXiv 2311.17034) against values of the official code."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.evaluation.official_geo_aware import aggregated
from workers.methods.geo_aware_adapter.network import OFFICIAL_CHANNELS, Adapter

SMALL = (8, 16, 16, 12)


def by_formula() -> Adapter:
    adapter = Adapter(SMALL, width=32, hidden=8, groups=4).eval()
    with torch.no_grad():
        for i, (name, parameter) in enumerate(adapter.named_parameters()):
            if parameter.ndim == 0:
                continue
            wave = 0.2 * torch.sin(0.7 * torch.arange(parameter.numel()) + 0.3 * i)
            parameter.copy_(wave.view_as(parameter) + (1 if name.endswith("norm.weight") else 0))
    return adapter


def waves() -> Tensor:
    return torch.cos(0.13 * torch.arange(52 * 25, dtype=torch.float64)).float().view(1, 52, 5, 5)


def test_values() -> None:
    adapter = by_formula()
    out = adapter(torch.split(waves(), SMALL, dim=1), 5).detach()
    plain = aggregated(dict(adapter.state_dict()), waves(), SMALL, groups=4)
    for found in (out, plain):
        assert float(found.double().sum()) == pytest.approx(474.53469, abs=1e-3)
        assert float(found.max()) == pytest.approx(2.220790, abs=1e-4)
        assert_close(found[0, :4, 2, 3], torch.tensor([0.189592, 0.931240, 0.818515, 0.0]), atol=1e-4, rtol=0)
    shares = torch.softmax(adapter.mixing_weights.detach(), dim=0)
    assert_close(shares, torch.tensor([0.242287, 0.262410, 0.259577, 0.235726]), atol=1e-5, rtol=0)


def test_numbers_of_parameters() -> None:
    assert sum(parameter.numel() for parameter in by_formula().parameters()) == 6_054
    with torch.device("meta"):
        adapter = Adapter(OFFICIAL_CHANNELS)
    assert sum(parameter.numel() for parameter in adapter.parameters()) == 5_150_214
    each = [sum(p.numel() for p in layer.parameters()) for layer in adapter.bottleneck_layers]
    assert each == [1_097_472, 1_711_872, 1_711_872, 628_992]


def test_names() -> None:
    with torch.device("meta"):
        names = list(Adapter(OFFICIAL_CHANNELS).state_dict())
    assert names[:3] == ["logit_scale", "self_logit_scale", "mixing_weights"]
    expected = [
        f"bottleneck_layers.{block}.0.{part}.{what}"
        for block in range(4)
        for part in ("shortcut", "conv1", "conv2", "conv3")
        for what in ("weight", "norm.weight", "norm.bias")
        if (block, part) != (3, "shortcut")
    ]
    assert names[3:] == expected


def test_the_beginning() -> None:
    torch.manual_seed(0)
    adapter = Adapter((64, 128), width=128, hidden=64)
    assert float(adapter.logit_scale.detach()) == pytest.approx(math.log(1 / 0.07))
    assert float(adapter.self_logit_scale.detach()) == pytest.approx(math.log(10))
    assert adapter.mixing_weights.tolist() == [1, 1]
    weights = dict(adapter.named_parameters())
    kernel = weights["bottleneck_layers.0.0.conv2.weight"].detach()
    assert float(kernel.std()) == pytest.approx(math.sqrt(2 / (64 * 9)), rel=0.02)
    assert float(weights["bottleneck_layers.0.0.shortcut.weight"].detach().std()) == pytest.approx(
        math.sqrt(2 / 128), rel=0.03
    )
    assert (weights["bottleneck_layers.1.0.conv3.norm.weight"] == 1).all()
    assert (weights["bottleneck_layers.1.0.conv3.norm.bias"] == 0).all()
