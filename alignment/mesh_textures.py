"""One surface of several parts: its vertices, and one texture or one colour a vertex."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from alignment.mesh import GREY
from alignment.mesh_parts import Float, Int, Part, UInt8

PATCH_PX: Final = 8
"""Side of the patch that a plain colour takes beside textures."""
_BORDER_PX = 4
_MAX_REPEATS = 64
_SEAM = 1e-4


@dataclass(frozen=True)
class Surface:
    """Vertices (V, 3) and faces (F, 3), with `uv` (V, 2) and `texture`, or `colours` (V, 3), or neither."""

    vertices: Float
    faces: Int
    uv: Float | None = None
    texture: UInt8 | None = None
    colours: UInt8 | None = None


def joined(parts: Sequence[Part], *, texture_side: int) -> tuple[Surface, list[str]]:
    """Join parts.

    With one texture for all of them it is kept; several, and plain colours beside them, are packed into one of at most
    `texture_side` pixels a side. Without textures every vertex gets its part's colour. Parts of which nothing is known
    are grey where others are coloured.

    Returns:
        The surface, and what was lost on the way, as sentences for the user.
    """
    if not any(part.texture is not None for part in parts):
        starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
        vertices = np.concatenate([part.vertices for part in parts])
        faces = np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)])
        return Surface(vertices, faces, colours=_colours(parts)), []
    warnings = []
    if any(part.colours is not None for part in parts):
        warnings.append("Parts of it are coloured by vertices beside textures; each of them gets its mean colour.")
    unwrapped = [_unwrapped(part, texture_side) for part in _by_texture(parts)]
    atlas, was_shrunk = _pack([part.texture for part in unwrapped if part.texture is not None], texture_side)
    if was_shrunk:
        warnings.append(f"Its textures were scaled down to fit into {texture_side} x {texture_side} pixels.")
    return _on_atlas(unwrapped, atlas), warnings


def _by_texture(parts: Sequence[Part]) -> list[Part]:
    """Join the parts that share a texture; the others stay as they are."""
    groups: dict[int, list[Part]] = {}
    for part in parts:
        groups.setdefault(id(part if part.texture is None else part.texture), []).append(part)
    return [same[0] if len(same) == 1 else _concatenated(same) for same in groups.values()]


def _concatenated(parts: Sequence[Part]) -> Part:
    starts = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    return Part(
        np.concatenate([part.vertices for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.uv for part in parts if part.uv is not None]),
        parts[0].texture,
    )


def _colours(parts: Sequence[Part]) -> UInt8 | None:
    if all(part.colours is None and part.flat is None for part in parts):
        return None
    return np.concatenate([_vertex_colours(part) for part in parts])


def _vertex_colours(part: Part) -> UInt8:
    if part.colours is not None:
        return part.colours
    flat = np.full(3, GREY, dtype=np.uint8) if part.flat is None else part.flat
    return np.broadcast_to(flat, part.vertices.shape)


def _unwrapped(part: Part, texture_side: int) -> Part:
    """Return a part whose places all lie on its texture, which repeats as often as the part needs."""
    if part.uv is None or part.texture is None:
        return _patched(part, _mean_colour(part))
    texture = part.texture
    corners = part.uv[part.faces]
    shift = np.floor(corners.min(axis=1) + _SEAM)
    repeats = np.maximum(np.ceil((corners - shift[:, None]).max(axis=(0, 1)) - _SEAM), 1)
    if repeats.max() > _MAX_REPEATS:
        mean: UInt8 = np.rint(texture.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
        return _patched(part, mean)
    if shift.any():
        part = _split(part, part.uv, shift)
    assert part.uv is not None
    across, down = int(repeats[0]), int(repeats[1])
    repeated = texture if (across, down) == (1, 1) else _tiled(texture, across, down, texture_side)
    return Part(part.vertices, part.faces, uv=np.clip(part.uv / repeats, 0, 1), texture=repeated)


def _split(part: Part, uv: Float, shift: Float) -> Part:
    """Move each face's places by its whole number of repeats; vertices between differently moved faces are doubled."""
    corners = part.faces.reshape(-1)
    keys = np.concatenate([corners[:, None], np.repeat(shift, 3, axis=0).astype(np.int64)], axis=1)
    unique, inverse = np.unique(keys, axis=0, return_inverse=True)
    origin = unique[:, 0]
    return Part(part.vertices[origin], inverse.reshape(-1, 3), uv[origin] - unique[:, 1:], part.texture)


def _tiled(texture: UInt8, across: int, down: int, side: int) -> UInt8:
    height, width = texture.shape[:2]
    scale = min(1.0, side / (width * across), side / (height * down))
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        texture = np.asarray(Image.fromarray(texture).resize(size, Image.Resampling.BOX))
    return np.tile(texture, (down, across, 1))


def _mean_colour(part: Part) -> UInt8:
    mean: UInt8 = np.rint(_vertex_colours(part).mean(axis=0)).astype(np.uint8)
    return mean


def _patched(part: Part, colour: UInt8) -> Part:
    """Return a part on a small texture of one colour."""
    patch = np.broadcast_to(colour, (PATCH_PX, PATCH_PX, 3))
    return Part(part.vertices, part.faces, uv=np.full((len(part.vertices), 2), 0.5), texture=patch)


@dataclass(frozen=True)
class _Atlas:
    """Several textures side by side, and where each lies: x, y, width, height in [0, 1] by its content."""

    picture: UInt8
    places: dict[bytes, tuple[float, float, float, float]]


def _pack(textures: Sequence[UInt8], side: int) -> tuple[_Atlas, bool]:
    """Pack distinct textures on shelves, each with a border of its own edge; scaled down together where need be."""
    tiles = {_key(texture): texture for texture in textures}
    if len(tiles) == 1:
        ((key, texture),) = tiles.items()
        return _Atlas(np.ascontiguousarray(texture), {key: (0.0, 0.0, 1.0, 1.0)}), False
    scale = 1.0
    while True:
        sizes = {key: _scaled(tile, scale) for key, tile in tiles.items()}
        places, width, height = _shelves(sizes)
        if max(width, height) <= side:
            break
        scale *= 0.9 * side / max(width, height)
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    shares = {}
    for key, (x, y) in places.items():
        across, down = sizes[key]
        tile = np.asarray(Image.fromarray(np.ascontiguousarray(tiles[key])).resize((across, down), _FILTER))
        border = ((_BORDER_PX, _BORDER_PX), (_BORDER_PX, _BORDER_PX), (0, 0))
        framed = np.pad(tile, border, mode="edge")
        picture[y : y + framed.shape[0], x : x + framed.shape[1]] = framed
        shares[key] = ((x + _BORDER_PX) / width, (y + _BORDER_PX) / height, across / width, down / height)
    return _Atlas(picture, shares), scale < 1


_FILTER = Image.Resampling.LANCZOS


def _scaled(tile: UInt8, scale: float) -> tuple[int, int]:
    return max(PATCH_PX, round(tile.shape[1] * scale)), max(PATCH_PX, round(tile.shape[0] * scale))


def _shelves(sizes: dict[bytes, tuple[int, int]]) -> tuple[dict[bytes, tuple[int, int]], int, int]:
    """Place rectangles in rows, the tallest first; return their corners, and the width and height of all."""
    framed = {key: (across + 2 * _BORDER_PX, down + 2 * _BORDER_PX) for key, (across, down) in sizes.items()}
    widest = max(across for across, _ in framed.values())
    width = max(widest, int(np.ceil(np.sqrt(sum(across * down for across, down in framed.values())))))
    places: dict[bytes, tuple[int, int]] = {}
    x = y = shelf = 0
    for key, (across, down) in sorted(framed.items(), key=lambda item: -item[1][1]):
        if x + across > width:
            x, y, shelf = 0, y + shelf, 0
        places[key] = x, y
        x, shelf = x + across, max(shelf, down)
    return places, max(x + framed[key][0] for key, (x, _) in places.items()), y + shelf


def _on_atlas(parts: Sequence[Part], atlas: _Atlas) -> Surface:
    vertices, faces, uv = [], [], []
    start = 0
    for part in parts:
        assert part.uv is not None
        assert part.texture is not None
        x, y, across, down = atlas.places[_key(part.texture)]
        uv.append(part.uv * (across, down) + (x, y))
        vertices.append(part.vertices)
        faces.append(part.faces + start)
        start += len(part.vertices)
    return Surface(np.concatenate(vertices), np.concatenate(faces), np.concatenate(uv), atlas.picture)


def _key(texture: npt.NDArray[np.uint8]) -> bytes:
    """Tell equal textures; the small patches of plain colours by content, others by the array they are."""
    if texture.size == 3 * PATCH_PX**2:
        return texture.tobytes()
    return f"{id(texture)}".encode()
