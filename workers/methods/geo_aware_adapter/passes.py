"""Many pictures through the network for one loss, in little memory.

The loss first meets the features alone; its gradient on them then goes back through the network a few pictures at a
time. Where all activations would not fit, they are computed a second time for that (arXiv 2101.06983).
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from workers.backbones.base import Tick
from workers.methods.geo_aware_adapter.network import Adapter
from workers.methods.geo_aware_adapter.objective import Losses

Load = Callable[[range], tuple[Tensor, ...]]
"""Blocks of features of some of the pictures, the same at every call."""

_KEPT_BYTES = {"cpu": 1 << 31, "cuda": 16 << 30}
_LOT_BYTES = {"cpu": 1 << 25, "cuda": 2 << 30}
_KEPT_MAPS = 7


def learn(
    adapter: Adapter,
    load: Load,
    count: int,
    cells: int,
    loss: Callable[[Tensor], Losses],
    *,
    mixed: Callable[[], AbstractContextManager[None]],
    tick: Tick,
) -> Losses:
    """Add the loss's gradient to the adapter's.

    Args:
        adapter: sees the pictures.
        load: gives their features.
        count: of pictures.
        cells: a side of the maps.
        loss: of the maps (count, width, cells, cells).
        mixed: the precision in which the adapter works.
        tick: called after every few pictures.

    Returns:
        What `loss` gave, without a graph.
    """
    device = adapter.mixing_weights.device
    each = _bytes(adapter, cells)
    keep = count * each <= _KEPT_BYTES.get(device.type, 0)
    lots = _lots(count, max(1, _LOT_BYTES.get(device.type, 0) // each))

    def described(lot: range) -> Tensor:
        with mixed():
            return adapter.describe(load(lot), cells)

    maps = torch.empty(count, adapter.width, cells, cells, device=device)
    roots: list[Tensor] = []
    for lot in lots:
        with torch.set_grad_enabled(keep):
            roots.append(described(lot))
        maps[lot.start : lot.stop] = roots[-1].detach()
        tick()
    if not keep:
        roots.clear()
    maps.requires_grad_()
    losses = loss(maps)
    torch.autograd.backward(losses.total)
    assert maps.grad is not None
    for lot in reversed(lots):
        root = roots.pop() if keep else described(lot)
        torch.autograd.backward(root, maps.grad[lot.start : lot.stop])
        tick()
    return Losses(losses.total.detach(), losses.sparse.detach(), losses.dense.detach())


def _lots(count: int, size: int) -> list[range]:
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def _bytes(adapter: Adapter, cells: int) -> int:
    """About what one picture's activations take, float32."""
    hidden = sum(layer[0].conv1.out_channels for layer in adapter.bottleneck_layers)  # type: ignore[index]
    maps = _KEPT_MAPS * (hidden + adapter.width * len(adapter.channels)) + sum(adapter.channels)
    return 4 * cells * cells * int(maps)
