"""A made-up category of parts in pairs that look alike: only a weak trace tells the left one from the right one.

Features are made without pictures: round spots of five kinds, each kind once on the left and once on the right of an
object that faces the viewer or turns its back, at random size and place, in noise. Which side is left cannot be told
from where a spot lies, only from a trace in its features, too weak for raw features to go by.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from alignment.geometry_aware import geometry_aware
from workers.geometry.coordinates import pixels_to_normalised, sample_at
from workers.matching.soft_argmax import Softness, soft_places
from workers.methods.geo_aware_adapter.data import TrainingSet

PARTS = 5
GROUPS = tuple((2 * part, 2 * part + 1) for part in range(PARTS))
"""The left and the right spot of each kind, by their numbers."""

_SIDE_SHARE = 0.15
_NOISE = 0.10
_SPOT_SHARE = 0.18
_SIZES = (8.0, 14.0)
_HIDDEN = 0.1
_MARGIN = 1.0
_JITTER = 0.02
_LIKE = 30
_SOFTNESS = Softness(temperature=0.02, window=7, window_mode="mask")


@dataclass(frozen=True)
class Category:
    """What all pictures share.

    Attributes:
        places: (10, 2) of the spots round the object's middle, seen from the front, in units of its size.
        codes: (10, C), what the spots look like.
        channels: into which blocks the features are divided.
        cells: a side of the grid.
    """

    places: Tensor
    codes: Tensor
    channels: tuple[int, ...]
    cells: int


@dataclass(frozen=True)
class AmbiguousParts:
    """Pictures to learn from and others to be tested on, and the ordered pairs (P, 2) of these that are."""

    train: TrainingSet
    test: TrainingSet
    test_pairs: Tensor


def ambiguous_parts(
    seed: int = 0,
    *,
    train: int = 40,
    test: int = 20,
    test_pairs: int = 40,
    cells: int = 30,
    channels: tuple[int, ...] = (16, 32, 32, 24),
) -> AmbiguousParts:
    """Make a category and pictures of it.

    Args:
        seed: of everything.
        train: pictures to learn from.
        test: other pictures.
        test_pairs: of these.
        cells: a side of the grid, at least 30.
        channels: of the blocks of features.
    """
    generator = torch.Generator().manual_seed(seed)
    category = _category(channels, cells, generator)
    shown = _pictures(category, train, generator)
    tested = _pictures(category, test, generator)
    ordered = torch.cartesian_prod(torch.arange(test), torch.arange(test))
    ordered = ordered[ordered[:, 0] != ordered[:, 1]]
    chosen = torch.randperm(len(ordered), generator=generator)[:test_pairs]
    return AmbiguousParts(shown, tested, ordered[chosen])


def raw_maps(data: TrainingSet) -> Tensor:
    """Raw features (N, C, g, g) of a set, a unit vector each cell."""
    return normalize(torch.cat([block.float() for block in data.blocks], dim=1), dim=1)


def shares_correct(
    maps: Tensor, data: TrainingSet, pairs: Tensor, alphas: tuple[float, ...] = (0.1, 0.05)
) -> tuple[float, ...]:
    """Share of the geometry-aware keypoints that are found, per point (PCK).

    Args:
        maps: (N, C, g, g) of the pictures, a unit vector each cell.
        data: the pictures.
        pairs: (P, 2), from which picture to which.
        alphas: how near counts as found, in units of the longer side of the target's box.
    """
    errors = []
    at = pixels_to_normalised(data.points, width=data.cells, height=data.cells)
    read = normalize(sample_at(maps, at).transpose(1, 2), dim=2)
    for source, target in pairs.tolist():
        seen = (data.visible[source].numpy(), data.visible[target].numpy())
        counted = torch.from_numpy(geometry_aware(*seen, GROUPS))
        found = soft_places(read[source, counted], maps[target], _SOFTNESS) + 0.5
        errors.append((found - data.points[target, counted]).norm(dim=1) / data.sides[target])
    error = torch.cat(errors)
    return tuple(float((error < alpha).float().mean()) for alpha in alphas)


def _category(channels: tuple[int, ...], cells: int, generator: torch.Generator) -> Category:
    height = torch.linspace(-0.5, 0.5, PARTS)[torch.randperm(PARTS, generator=generator)]
    half = 0.15 + 0.35 * torch.rand(PARTS, generator=generator)
    places = torch.stack([torch.stack([-half, half], dim=1), height.unsqueeze(1).expand(-1, 2)], dim=2)
    codes = normalize(torch.randn(PARTS, sum(channels), generator=generator), dim=1)
    side = normalize(torch.randn(sum(channels), generator=generator), dim=0)
    signs = torch.tensor([1.0, -1.0])
    sided = codes.unsqueeze(1) + _SIDE_SHARE * signs.view(1, 2, 1) * side
    return Category(places.flatten(0, 1), sided.flatten(0, 1), channels, cells)


def _pictures(category: Category, count: int, generator: torch.Generator) -> TrainingSet:
    cells = category.cells
    sizes = (_SIZES[0] + (_SIZES[1] - _SIZES[0]) * torch.rand(count, generator=generator)) * cells / _LIKE
    facing = torch.randint(2, (count,), generator=generator) * 2.0 - 1
    jitter = _JITTER * torch.randn(count, 2 * PARTS, 2, generator=generator)
    places = (category.places + jitter) * sizes[:, None, None]
    places = places * torch.stack([facing, torch.ones(count)], dim=1).unsqueeze(1)
    low, high = places.amin(dim=1), places.amax(dim=1)
    room = cells - 2 * _MARGIN - (high - low)
    points = places + (_MARGIN - low + room * torch.rand(count, 2, generator=generator)).unsqueeze(1)
    becomes = torch.arange(2 * PARTS) ^ 1
    # A mirrored left part looks like a right one: the spot there has its partner's code.
    flipped = torch.stack([cells - points[..., 0], points[..., 1]], dim=2)[:, becomes]
    return TrainingSet(
        blocks=_blocks(category, points, sizes, generator),
        mirrored=_blocks(category, flipped, sizes, generator),
        cells=cells,
        points=points,
        visible=torch.rand(count, 2 * PARTS, generator=generator) > _HIDDEN,
        sides=(high - low).amax(dim=1),
        becomes=becomes.expand(count, -1),
        categories=torch.zeros(count, dtype=torch.int64),
    )


def _blocks(category: Category, points: Tensor, sizes: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
    cells = category.cells
    centres = torch.arange(cells) + 0.5
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    apart = torch.stack([x, y], dim=2) - points[:, :, None, None]
    radius = _SPOT_SHARE * sizes
    spots = torch.exp(-apart.square().sum(dim=4) / (2 * radius.square()[:, None, None, None]))
    features = torch.einsum("nkyx,kc->ncyx", spots, category.codes)
    features += _NOISE * torch.randn(features.shape, generator=generator)
    return torch.split(features, list(category.channels), dim=1)
