"""Which triangle each pixel shows: a rasteriser in plain PyTorch, for many views of one mesh at once.

Every triangle is cut into spans, the pixels of a row whose centres it covers; a pixel keeps the nearest span. So the
work grows with the pixels that are covered, however many views and triangles there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras

NEAR = 1e-3
_CANDIDATES = 1 << 21
_CORNERS = 3
_EDGE_PX = 1e-4
_LEAST = 1e-12
_FACE_BITS = 32


@dataclass(frozen=True)
class Fragments:
    """What each pixel of V pictures of S x S pixels shows.

    Attributes:
        faces: (V, S, S) int64, number of the triangle, -1 where there is nothing.
        barycentric: (V, S, S, 3) weights of its corners, true to perspective; 0 where there is nothing.
        depth: (V, S, S) along the camera's axis; 0 where there is nothing.
    """

    faces: Tensor
    barycentric: Tensor
    depth: Tensor

    @property
    def mask(self) -> Tensor:
        """Where something is shown, (V, S, S) bool."""
        return self.faces >= 0


@dataclass(frozen=True)
class _Projected:
    """Corners of all faces in all views: places (V, F, 3, 2) in pixels and depths (V, F, 3)."""

    places: Tensor
    depth: Tensor


@dataclass(frozen=True)
class _Spans:
    """Rows of faces: which face of which view (n,), row, first column and number of columns."""

    item: Tensor
    row: Tensor
    first: Tensor
    count: Tensor


@torch.no_grad()
def rasterise(vertices: Tensor, faces: Tensor, cameras: Cameras, windows: Tensor, size: int) -> Fragments:
    """Draw a mesh from V cameras.

    Both sides of a triangle are seen. Triangles that reach behind a camera are left out.

    Args:
        vertices: (M, 3) in the canonical frame.
        faces: (F, 3), rows of `vertices`.
        cameras: V of them.
        windows: (V, 3), the square part of each picture that is drawn: centre x, y and half its side, in picture
            coordinates (halves of the picture's height).
        size: pixels S a side.
    """
    chunks = [
        _drawn(vertices, faces, cameras[rows], windows[rows], size)
        for rows in _view_chunks(vertices, faces, cameras, windows, size)
    ]
    return Fragments(
        torch.cat([each.faces for each in chunks]),
        torch.cat([each.barycentric for each in chunks]),
        torch.cat([each.depth for each in chunks]),
    )


def interpolate(fragments: Fragments, faces: Tensor, values: Tensor) -> Tensor:
    """Values (M, C) of the vertices at every pixel, (V, C, S, S); 0 where there is nothing. Differentiable in them."""
    hit = fragments.mask
    corners = values[faces[fragments.faces[hit]]]
    found = (corners * fragments.barycentric[hit].to(values).unsqueeze(-1)).sum(dim=1)
    pictures = values.new_zeros(*hit.shape, values.shape[-1])
    return pictures.masked_scatter(hit.unsqueeze(-1), found).permute(0, 3, 1, 2)


def pixels_of(points: Tensor, windows: Tensor, size: int) -> Tensor:
    """Picture coordinates (V, ..., 2) to continuous pixels of windows (V, 3) of `size` pixels a side."""
    shape = (len(windows), *[1] * (points.ndim - 2))
    centre, half = windows[:, :2].view(*shape, 2), windows[:, 2].view(*shape, 1)
    return ((points - centre) / half + 1) * (size / 2)


def pixel_centres(windows: Tensor, size: int) -> Tensor:
    """Picture coordinates (V, S, S, 2) of the pixels' centres of windows (V, 3)."""
    steps = (2 * torch.arange(size, device=windows.device, dtype=windows.dtype) + 1) / size - 1
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    return windows[:, None, None, :2] + windows[:, 2].view(-1, 1, 1, 1) * torch.stack([x, y], dim=-1)


def _view_chunks(vertices: Tensor, faces: Tensor, cameras: Cameras, windows: Tensor, size: int) -> Iterator[slice]:
    """Cut the views into runs that fit into memory, by a guess from a few of them."""
    probes = list(range(0, len(cameras), max(1, len(cameras) // 4)))
    corners = _projected(vertices, faces, cameras[probes], windows[probes], size)
    pixels = float(_spans(corners, size).count.sum()) / max(1, len(probes))
    step = max(1, int(_CANDIDATES / max(pixels, len(faces) * _CORNERS, size * size)))
    for start in range(0, len(cameras), step):
        yield slice(start, start + step)


def _drawn(vertices: Tensor, faces: Tensor, cameras: Cameras, windows: Tensor, size: int) -> Fragments:
    corners = _projected(vertices, faces, cameras, windows, size)
    views, count = corners.depth.shape[:2]
    spans = _spans(corners, size)
    nearness, slope = _nearness(corners, spans)
    span = torch.repeat_interleave(torch.arange(len(spans.item), device=vertices.device), spans.count)
    along = torch.arange(len(span), device=span.device) - (spans.count.cumsum(0) - spans.count)[span]
    view = torch.div(spans.item, count, rounding_mode="floor")
    pixel = ((view * size + spans.row) * size + spans.first)[span] + along
    # Positive floats keep their order when their bits are read as integers: one maximum finds depth and face.
    near = (nearness[span] + slope[span] * along).clamp_min(_LEAST).float()
    key = (near.view(torch.int32).long() << _FACE_BITS) | (spans.item % count)[span]
    best = torch.full((views * size * size,), -1, device=key.device)
    best.scatter_reduce_(0, pixel, key, reduce="amax")
    found = torch.where(best < 0, -1, best & ((1 << _FACE_BITS) - 1)).view(views, size, size)
    return _with_weights(found, corners)


def _projected(vertices: Tensor, faces: Tensor, cameras: Cameras, windows: Tensor, size: int) -> _Projected:
    points, depth = cameras.project(vertices)
    return _Projected(pixels_of(points, windows, size)[:, faces], depth[:, faces])


def _spans(corners: _Projected, size: int) -> _Spans:
    """Cut all faces into rows of pixels whose centres they cover."""
    y = corners.places[..., 1]
    first = (y.amin(dim=2).clamp(-1, size + 1) - 0.5).ceil().long().clamp_min(0)
    last = (y.amax(dim=2).clamp(-1, size + 1) - 0.5).floor().long().clamp_max(size - 1)
    is_before = (corners.depth > NEAR).all(dim=2)
    rows = ((last - first + 1).clamp_min(0) * is_before).flatten()
    item = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), rows)
    row = first.flatten()[item] + torch.arange(len(item), device=rows.device) - (rows.cumsum(0) - rows)[item]
    left, right = _ends(corners.places.view(-1, _CORNERS, 2), item, row.to(y) + 0.5)
    start = (left.clamp(-1, size + 1) - 0.5 - _EDGE_PX).ceil().long().clamp_min(0)
    stop = (right.clamp(-1, size + 1) - 0.5 + _EDGE_PX).floor().long().clamp_max(size - 1)
    count = (stop - start + 1).clamp_min(0)
    kept = count > 0
    return _Spans(item[kept], row[kept], start[kept], count[kept])


def _ends(places: Tensor, item: Tensor, height: Tensor) -> tuple[Tensor, Tensor]:
    """Where triangles (n, 3, 2) number `item` begin and end on horizontal lines at `height`: x from and to."""
    left = torch.full_like(height, torch.inf)
    right = torch.full_like(height, -torch.inf)
    x, y = places.unbind(dim=-1)
    for one in range(_CORNERS):
        other = (one + 1) % _CORNERS
        first, second = y[:, one][item], y[:, other][item]
        share = (height - first) / (second - first)
        start = x[:, one][item]
        crossing = start + share * (x[:, other][item] - start)
        is_crossed = (share >= 0) & (share <= 1)
        left = torch.where(is_crossed, torch.minimum(left, crossing), left)
        right = torch.where(is_crossed, torch.maximum(right, crossing), right)
    return left, right


def _nearness(corners: _Projected, spans: _Spans) -> tuple[Tensor, Tensor]:
    """One by depth (n,) at the first pixel of each span, and its change from pixel to pixel: linear in a picture."""
    a, b, c = corners.places.view(-1, _CORNERS, 2).unbind(dim=1)
    first, second, third = (1 / corners.depth.view(-1, _CORNERS)).unbind(dim=1)
    area = _cross(b - a, c - a)
    area = torch.where(area == 0, torch.inf, area)
    ab, ac = b - a, c - a
    along_x = ((second - first) * ac[:, 1] - (third - first) * ab[:, 1]) / area
    along_y = ((third - first) * ab[:, 0] - (second - first) * ac[:, 0]) / area
    item = spans.item
    x, y = spans.first.to(a) + 0.5 - a[item, 0], spans.row.to(a) + 0.5 - a[item, 1]
    return first[item] + along_x[item] * x + along_y[item] * y, along_x[item]


def _weights(corners: _Projected, item: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Weights (n, 3) of the corners of triangles `item` (n,) of all views at pixel centres."""
    a, b, c = corners.places.view(-1, _CORNERS, 2)[item].unbind(dim=1)
    point = torch.stack([column, row], dim=-1).to(a) + 0.5
    area = _cross(b - a, c - a)
    second = _cross(point - a, c - a)
    third = _cross(b - a, point - a)
    shares = torch.stack([area - second - third, second, third], dim=-1) / area.unsqueeze(-1)
    flat = torch.tensor([1.0, 0.0, 0.0], device=shares.device, dtype=shares.dtype)
    # A span may reach beyond the triangle by rounding.
    return torch.where((area == 0).unsqueeze(-1), flat, shares).clamp(0, 1)


def _cross(first: Tensor, second: Tensor) -> Tensor:
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _with_weights(found: Tensor, corners: _Projected) -> Fragments:
    """Add what interpolation needs to the faces (V, S, S) that were found."""
    view, row, column = (found >= 0).nonzero(as_tuple=True)
    item = view * corners.depth.shape[1] + found[view, row, column]
    shares = _weights(corners, item, row, column) / corners.depth.view(-1, _CORNERS)[item]
    inverse = shares.sum(dim=-1, keepdim=True).clamp_min(_LEAST)
    barycentric = shares.new_zeros(*found.shape, _CORNERS)
    depth = shares.new_zeros(found.shape)
    barycentric[view, row, column] = shares / inverse
    depth[view, row, column] = 1 / inverse.squeeze(-1)
    return Fragments(found, barycentric, depth)
