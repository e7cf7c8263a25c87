"""Cosines between the cells of one feature map and any places of another, read without touching the features again.

The other map is interpolated bilinearly. Its products with each cell of the first and those between its own neighbours
are taken once; from then on a reading costs the same whatever the number of channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from workers.geometry.coordinates import identity_grid

_LEAST_SQUARE = 1e-4
_FULL_WEIGHT, _LEAST_GAP = 0.5, 0.1


@dataclass(frozen=True)
class Reading:
    """What K x K cells see at their places.

    Attributes:
        similarity: (N, K, K) cosine; falls to 0 where less than half of a place lies on the render.
        gradient: (N, 2, K, K), its derivatives along x and y, in [-1, 1] coordinates.
        curvature: (N, 3, K, K), entries xx, xy, yy of the Gauss-Newton matrix of its negative.
    """

    similarity: Tensor
    gradient: Tensor
    curvature: Tensor

    def where(self, chosen: Tensor, other: Reading) -> Reading:
        """These of the chosen (N,) bool, the others of another reading."""
        return Reading(
            torch.where(chosen[:, None, None], self.similarity, other.similarity),
            torch.where(chosen[:, None, None, None], self.gradient, other.gradient),
            torch.where(chosen[:, None, None, None], self.curvature, other.curvature),
        )


@dataclass(frozen=True)
class _Patches:
    """Where places lie in a grid of cells: in which patch between four neighbours, and where in it.

    Attributes:
        number: (N, P) of the patch.
        corners: (N, P, 4) numbers of its cells.
        weights: (N, P, 4) of these.
        slopes: (N, P, 2, 4), their derivatives along x and y, by cells.
        inside: (N, P, 2) bool, along which axis a place lies between the outermost cells.
    """

    number: Tensor
    corners: Tensor
    weights: Tensor
    slopes: Tensor
    inside: Tensor


@dataclass(frozen=True)
class Similarities:
    """Feature maps of N images, on K x K nodes, against those of their renders, on g x g cells.

    Attributes:
        mask: (N, 1, K, K) in [0, 1], how much the image shows around each node.
        own: (N, K * K, n) numbers of the rows of the table that make up a node.
        blend: (N, K * K, n) their weights.
        table: (N, rows, g * g) cosines times the render's mask.
        gram: (N, (g - 1) ** 2, 4, 4) products between the four cells of each patch of the render.
        shares: (N, (g - 1) ** 2, 4) the render's mask there.
    """

    mask: Tensor
    own: Tensor
    blend: Tensor
    table: Tensor
    gram: Tensor
    shares: Tensor

    def read(self, places: Tensor) -> Reading:
        """Read at one place in [-1, 1] for each node, (N, 2, K, K), (x, y); beyond the border as at the border."""
        cells = math.isqrt(self.table.shape[2])
        at = _patches(places.flatten(2).transpose(1, 2), cells)
        index = self.own.unsqueeze(3) * cells**2 + at.corners.unsqueeze(2)
        products = self.table.flatten(1).gather(1, index.flatten(1)).view(index.shape)
        products = (self.blend.unsqueeze(2) @ products).squeeze(2)
        gram = self.gram.gather(1, at.number[..., None, None].expand(-1, -1, 4, 4))
        shares = self.shares.gather(1, at.number[..., None].expand(-1, -1, 4))
        similarity, gradient, curvature = _read(at.weights, at.slopes, products, gram, shares)
        scale = at.inside.to(places) * (cells / 2)
        nodes = self.mask.shape[2:]
        return Reading(
            similarity.view(-1, *nodes),
            (scale * gradient).transpose(1, 2).reshape(-1, 2, *nodes),
            _entries(_outer(scale) * curvature).view(-1, 3, *nodes),
        )


class SimilarityPyramid:
    """The products of N images with their renders, taken once for nodes of any number."""

    def __init__(self, features: Tensor, mask: Tensor, rendered: Tensor, rendered_mask: Tensor) -> None:
        """Take them, of features (N, C, g, g) of any length and masks (N, 1, g, g) in [0, 1]."""
        shown, own = normalize(rendered, dim=1) * rendered_mask, normalize(features, dim=1) * mask
        self._mask = mask
        self._table = own.flatten(2).transpose(1, 2) @ shown.flatten(2)
        self._own_gram, self._gram = _gram(own), _gram(shown)
        self._shares = torch.stack([part.flatten(1) for part in _corners(rendered_mask)], dim=-1)

    def at(self, size: int) -> Similarities:
        """Those of size x size nodes: of interpolated features if finer than the cells, else means."""
        return self._finer(size) if size > self._mask.shape[-1] else self._coarser(size)

    def _finer(self, size: int) -> Similarities:
        nodes = identity_grid(size, size, device=self._mask.device).to(self._mask).view(1, -1, 2)
        at = _patches(nodes.expand(len(self._mask), -1, -1), self._mask.shape[-1])
        gram = self._own_gram.gather(1, at.number[..., None, None].expand(-1, -1, 4, 4))
        squared = (at.weights.unsqueeze(2) @ gram @ at.weights.unsqueeze(3)).flatten(1)
        blend = at.weights / squared.clamp_min(_LEAST_SQUARE).sqrt().unsqueeze(-1)
        mask = interpolate(self._mask, (size, size), mode="bilinear")
        return Similarities(mask, at.corners, blend, self._table, self._gram, self._shares)

    def _coarser(self, size: int) -> Similarities:
        rows = self._table.transpose(1, 2).reshape(len(self._mask), -1, *self._mask.shape[2:])
        mask = adaptive_avg_pool2d(self._mask, size)
        table = adaptive_avg_pool2d(rows, size) / mask.clamp_min(_LEAST_SQUARE)
        own = torch.arange(size**2, device=mask.device).view(1, -1, 1).expand(len(mask), -1, -1)
        table = table.flatten(2).transpose(1, 2).contiguous()
        return Similarities(mask, own, torch.ones_like(own, dtype=mask.dtype), table, self._gram, self._shares)


def _patches(places: Tensor, cells: int) -> _Patches:
    """Of places (N, P, 2) in [-1, 1], (x, y)."""
    position = ((places + 1) * cells - 1) / 2
    inside = (position >= 0) & (position <= cells - 1)
    position = position.clamp(0, cells - 1)
    first = position.floor().clamp_max(cells - 2)
    weights, slopes = _bilinear(position - first)
    x, y = first.long().unbind(dim=-1)
    start = y * cells + x
    corners = torch.stack([start, start + 1, start + cells, start + cells + 1], dim=-1)
    return _Patches(start - y, corners, weights, slopes, inside)


def _corners(maps: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The four cells of each patch between neighbours of maps (N, C, g, g)."""
    return maps[..., :-1, :-1], maps[..., :-1, 1:], maps[..., 1:, :-1], maps[..., 1:, 1:]


def _gram(shown: Tensor) -> Tensor:
    """Products (N, (g - 1) ** 2, 4, 4) between the corners of all patches."""
    own = _corners((shown * shown).sum(dim=1))
    right, down = (shown[..., 1:] * shown[..., :-1]).sum(dim=1), (shown[..., 1:, :] * shown[..., :-1, :]).sum(dim=1)
    upper_left, upper_right, lower_left, lower_right = _corners(shown)
    falling, rising = (upper_left * lower_right).sum(dim=1), (upper_right * lower_left).sum(dim=1)
    upper, lower, left, other = right[:, :-1], right[:, 1:], down[..., :-1], down[..., 1:]
    rows = (
        (own[0], upper, left, falling),
        (upper, own[1], rising, other),
        (left, rising, own[2], lower),
        (falling, other, lower, own[3]),
    )
    return torch.stack([torch.stack([each.flatten(1) for each in row], dim=-1) for row in rows], dim=-2)


def _bilinear(offset: Tensor) -> tuple[Tensor, Tensor]:
    """Weights (N, P, 4) of a patch's corners at offsets (N, P, 2) in [0, 1], and their slopes (N, P, 2, 4)."""
    x, y = offset.unbind(dim=-1)
    weights = torch.stack([(1 - x) * (1 - y), x * (1 - y), (1 - x) * y, x * y], dim=-1)
    along_x = torch.stack([y - 1, 1 - y, -y, y], dim=-1)
    along_y = torch.stack([x - 1, -x, 1 - x, x], dim=-1)
    return weights, torch.stack([along_x, along_y], dim=2)


def _read(weights: Tensor, slopes: Tensor, products: Tensor, gram: Tensor, shares: Tensor) -> tuple[Tensor, ...]:
    """Similarity (N, P), its gradient (N, P, 2) and curvature (N, P, 2, 2), by cells of the render.

    With b the interpolated features, the cosine's slopes are those of its products by |b|, less what |b| grows.
    """
    mixed = gram @ weights.unsqueeze(-1)
    squared = (weights.unsqueeze(2) @ mixed).squeeze(-1).clamp_min(_LEAST_SQUARE)
    length = squared.sqrt()
    cosine = (weights * products).sum(dim=-1, keepdim=True) / length
    along = (slopes @ mixed).squeeze(-1)
    cosine_slope = (slopes @ products.unsqueeze(-1)).squeeze(-1) / length - cosine * along / squared
    shown = (weights * shares).sum(dim=-1, keepdim=True) / _FULL_WEIGHT
    shown_slope = (slopes @ shares.unsqueeze(-1)).squeeze(-1) / _FULL_WEIGHT * (shown < 1)
    shown = shown.clamp_max(1)
    gradient = cosine_slope * shown + cosine * shown_slope
    bend = (slopes @ gram @ slopes.transpose(2, 3) - _outer(along) / squared[..., None]) / squared[..., None]
    edge = cosine.clamp_min(0) / (1 - shown).clamp_min(_LEAST_GAP)
    curvature = shown[..., None] * bend + edge[..., None] * _outer(shown_slope)
    return (cosine * shown).squeeze(-1), gradient, curvature


def _outer(vectors: Tensor) -> Tensor:
    return vectors.unsqueeze(-1) * vectors.unsqueeze(-2)


def _entries(matrices: Tensor) -> Tensor:
    """Entries xx, xy, yy (N, 3, P) of matrices (N, P, 2, 2), kept positive semidefinite where rounding does not."""
    xx, yy = matrices[..., 0, 0].clamp_min(0), matrices[..., 1, 1].clamp_min(0)
    most = (xx * yy).sqrt()
    return torch.stack([xx, torch.minimum(torch.maximum(matrices[..., 0, 1], -most), most), yy], dim=1)
