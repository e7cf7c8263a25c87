"""Soft-argmax: the expected place under a softmax over similarities, over the whole map or a window round the peak.

The window is that of Telling Left from Right (arXiv 2311.17034), the Gaussian one that of SFNet (arXiv 1904.01810).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softmax
from torch.utils.checkpoint import checkpoint

from workers.backbones.base import Tick, no_tick
from workers.matching.chunks import chunk_rows

WindowMode = Literal["mask", "zero"]


@dataclass(frozen=True)
class Softness:
    """How a similarity map is read softly.

    Attributes:
        temperature: by which similarities are divided before the softmax, > 0.
        window: half width w in cells of the square of (2 w + 1)^2 cells round the peak, cut off at the border; 0 is
            the whole map; below 0 similarities are multiplied by a Gaussian round the peak of deviation -w instead.
        window_mode: cells outside the square do not count (`mask`), or count with similarity 0, as in the official
            code (`zero`): then they outweigh the peak where it is low.
    """

    temperature: float = 0.02
    window: int = 0
    window_mode: WindowMode = "mask"

    def __post_init__(self) -> None:
        """Check the temperature."""
        if not self.temperature > 0:
            raise ValueError(f"temperature {self.temperature} is not positive; give for example 0.02")


def expected_cells(similarity: Tensor, softness: Softness) -> Tensor:
    """Expected place of each of some similarity maps, written plainly; the gradient flows through the weights.

    Args:
        similarity: (P, h, w); minus infinity where nothing may be found, but not everywhere.
        softness: how it is read.

    Returns:
        (P, 2) cell positions (column, row).
    """
    height, width = similarity.shape[1:]
    cells = _cells(height, width, similarity)
    scores = _windowed(similarity.flatten(1), cells, softness)
    return softmax(scores / softness.temperature, dim=1) @ cells


def soft_places(
    queries: Tensor, targets: Tensor, softness: Softness, *, mask: Tensor | None = None, tick: Tick = no_tick
) -> Tensor:
    """Where queries lie in a map: what `expected_cells` says of their products with it, which are never all held.

    Under autograd the memory stays bounded too: what is cheaper to compute again than to keep is computed again.

    Args:
        queries: (P, C); unit vectors, if cosines are to be compared. Only what is asked is computed.
        targets: (C, h, w), likewise.
        softness: how the similarities are read.
        mask: (h, w) bool, the cells where anything may be found, at least one; all if None.
        tick: called after every chunk.

    Returns:
        (P, 2) cell positions (column, row); differentiable in queries and targets.
    """
    table, width = targets.flatten(1), targets.shape[2]
    hidden = None if mask is None else ~mask.flatten()
    read = _expected_in_window if softness.window > 0 else _expected_everywhere
    places = [queries.new_zeros(0, 2)]
    for block in torch.split(queries, chunk_rows(table.shape[1])):
        places.append(read(block, table, hidden, width, softness))
        tick()
    return torch.cat(places)


def _similarity(queries: Tensor, table: Tensor, hidden: Tensor | None) -> Tensor:
    similarity = queries @ table
    return similarity if hidden is None else similarity.masked_fill(hidden, -torch.inf)


def _expected_everywhere(
    queries: Tensor, table: Tensor, hidden: Tensor | None, width: int, softness: Softness
) -> Tensor:
    def expected(queries: Tensor, table: Tensor) -> Tensor:
        return expected_cells(_similarity(queries, table, hidden).view(len(queries), -1, width), softness)

    if not torch.is_grad_enabled():
        return expected(queries, table)
    places: Tensor = checkpoint(expected, queries, table, use_reentrant=False, preserve_rng_state=False)
    return places


def _expected_in_window(
    queries: Tensor, table: Tensor, hidden: Tensor | None, width: int, softness: Softness
) -> Tensor:
    """Only the window's similarities are weighed; those outside it, if they count, are all alike."""
    similarity = _similarity(queries, table, hidden)
    height = table.shape[1] // width
    columns, rows = _window_cells(similarity.argmax(dim=1), height, width, softness.window)
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    at = (rows * width + columns).where(inside, 0)
    scores = (similarity.gather(1, at) / softness.temperature).masked_fill(~inside, -torch.inf)
    cells = torch.stack([columns, rows], dim=2).to(scores)
    if softness.window_mode == "mask":
        return (softmax(scores, dim=1).unsqueeze(2) * cells).sum(dim=1)
    top = scores.detach().amax(dim=1, keepdim=True).clamp(min=0)
    weights, outside = (scores - top).exp().unsqueeze(2), (-top).exp()
    elsewhere = _cells(height, width, scores).sum(dim=0) - (cells * inside.unsqueeze(2)).sum(dim=1)
    count = height * width - inside.sum(dim=1, keepdim=True)
    return ((weights * cells).sum(dim=1) + outside * elsewhere) / (weights.sum(dim=1) + outside * count)


def _window_cells(peak: Tensor, height: int, width: int, window: int) -> tuple[Tensor, Tensor]:
    """Columns and rows (P, K) of the cells of the square round each peak (P,); some may lie off the map."""
    reach_x, reach_y = min(window, width), min(window, height)
    dy, dx = torch.meshgrid(
        torch.arange(-reach_y, reach_y + 1, device=peak.device),
        torch.arange(-reach_x, reach_x + 1, device=peak.device),
        indexing="ij",
    )
    return (peak % width).unsqueeze(1) + dx.flatten(), (peak // width).unsqueeze(1) + dy.flatten()


def _windowed(similarity: Tensor, cells: Tensor, softness: Softness) -> Tensor:
    """Similarities (P, Q) with cells at places (Q, 2) as the window round the peak leaves them."""
    if softness.window == 0:
        return similarity
    offsets = cells - cells[similarity.argmax(dim=1)].unsqueeze(1)
    if softness.window < 0:
        kernel = torch.exp(-offsets.square().sum(dim=2) / (2 * softness.window**2))
        return torch.where(similarity.isneginf(), similarity, similarity * kernel)
    outside = offsets.abs().amax(dim=2) > softness.window
    return similarity.masked_fill(outside, -torch.inf if softness.window_mode == "mask" else 0.0)


def _cells(height: int, width: int, like: Tensor) -> Tensor:
    """Positions (height * width, 2) of all cells, (column, row), row-major."""
    index = torch.arange(height * width, device=like.device)
    return torch.stack([index % width, index // width], dim=1).to(like)
