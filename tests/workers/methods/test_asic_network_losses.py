"""The corrected losses of ASIC's network against plain loops, values and gradients, in double precision."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.testing import assert_close

from workers.methods.asic.network.canonical import identity
from workers.methods.asic.network.losses import folding, near, visible_contrastive, visible_equivariance
from workers.methods.asic.network.pixel_distance import pixel_distance

Loss = Callable[..., Tensor]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def check(loss: Loss, plain: Loss, *inputs: Tensor) -> float:
    """Both give the same value and gradients; returns the value."""
    found = []
    for function in (loss, plain):
        leaves = [tensor.clone().requires_grad_() for tensor in inputs]
        value = function(*leaves)
        found.append((value.detach(), *torch.autograd.grad(value, leaves)))
    assert_close(found[0], found[1])
    assert all(gradient.abs().sum() > 0 for gradient in found[0][1:])
    return float(found[0][0])


def test_contrastive() -> None:
    visible = torch.tensor([[1.0, 0.5, 1, 0], [0, 1, 0, 1]], dtype=torch.float64)
    pixels = torch.tensor([[[0.0, 0], [1, 1], [9, 9], [0, 1]], [[5, 5], [0, 0], [9, 0], [0, 9]]])
    partners = pixels.flip(1) * 2
    close = near(pixels, 2), near(partners, 2)
    assert close[0].sum() > 2 * 4
    assert not torch.equal(*close)

    def loss(source: Tensor, target: Tensor) -> Tensor:
        return visible_contrastive(source, target, visible, source_near=close[0], target_near=close[1], temperature=0.1)

    def plain(source: Tensor, target: Tensor) -> Tensor:
        total = source.new_zeros(())
        for p in range(2):
            there, back = (source[p], target[p], pixels[p], 1), (target[p], source[p], partners[p], -1)
            for ends, others, px, sign in (there, back):
                for k in range(4):
                    scores = [
                        -((ends[c] - others[k] + sign * 1e-6) ** 2).sum().sqrt() / 0.1
                        for c in range(4)
                        if c == k or (visible[p, c] > 0 and math.dist(px[c].tolist(), px[k].tolist()) >= 2)
                    ]
                    own = -((ends[k] - others[k] + sign * 1e-6) ** 2).sum().sqrt() / 0.1
                    total = total + visible[p, k] * (torch.stack(scores).exp().sum().log() - own)
        return total / (2 * visible.sum())

    source = drawn(2, 4, 2) * 0.1
    assert check(loss, plain, source, source + drawn(2, 4, 2, seed=1) * 0.05) > 0


def test_contrastive_ignores_padding_and_is_nothing_without_matches() -> None:
    source, target = drawn(1, 5, 2), drawn(1, 5, 2, seed=1)
    alone = torch.zeros(1, 5, 5, dtype=torch.bool)

    def value(visible: Tensor, count: int, source: Tensor = source) -> Tensor:
        close = alone[:, :count, :count]
        return visible_contrastive(
            source[:, :count], target[:, :count], visible, source_near=close, target_near=close, temperature=1
        )

    padded = torch.tensor([[1.0, 1, 1, 0, 0]], dtype=torch.float64)
    assert_close(value(padded, 5), value(padded[:, :3], 3))
    assert value(0 * padded, 5) == 0


def test_equivariance() -> None:
    mask = (drawn(2, 5, 5, seed=2) > 0).double()
    wanted = drawn(2, 5, 5, 2, seed=1)

    def plain(flow: Tensor) -> Tensor:
        total = flow.new_zeros(())
        for n, y, x in mask.nonzero().tolist():
            total = total + (flow[n, y, x] - wanted[n, y, x]).abs().sum() / 2
        return total / mask.sum()

    check(lambda flow: visible_equivariance(flow, wanted, mask), plain, drawn(2, 5, 5, 2))
    assert visible_equivariance(wanted + (1 - mask).unsqueeze(3), wanted, mask) == 0


def test_folding() -> None:
    mask = (drawn(2, 6, 6, seed=2) > -1).double()

    def plain(flow: Tensor) -> Tensor:
        total, count = flow.new_zeros(()), 0
        for n in range(2):
            for y in range(5):
                for x in range(5):
                    if mask[n, y, x] * mask[n, y, x + 1] * mask[n, y + 1, x]:
                        across, down = flow[n, y, x + 1] - flow[n, y, x], flow[n, y + 1, x] - flow[n, y, x]
                        total = total - (torch.linalg.det(torch.stack([across, down])) * 2.5**2).clamp(max=0)
                        count += 1
        return total / count

    flow = identity(6).double() + 0.3 * drawn(2, 6, 6, 2)
    assert check(lambda flow: folding(flow, mask), plain, flow) > 0
    straight = identity(6).double()[None]
    assert folding(straight, mask[:1]) == 0
    assert_close(folding(straight.flip(2), mask[:1]), torch.ones((), dtype=torch.float64))


def test_pixel_distance() -> None:
    def plain(first: Tensor, second: Tensor) -> Tensor:
        apart, total = first - second, first.new_zeros(())
        for _ in range(3):
            for change in (apart, apart[..., 1:, :] - apart[..., :-1, :], apart[..., 1:] - apart[..., :-1]):
                total = total + ((change**2 + 1e-4).sqrt() - 0.01).mean() / 3
            apart = (apart[..., ::2, ::2] + apart[..., 1::2, ::2] + apart[..., ::2, 1::2] + apart[..., 1::2, 1::2]) / 4
        return total

    first = drawn(2, 3, 8, 8)
    check(pixel_distance, plain, first, drawn(2, 3, 8, 8, seed=1))
    assert float(pixel_distance(first, first)) < 1e-12
