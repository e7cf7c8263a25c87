"""How often each piece of the work runs in a job that looks for points of one image in another.

The counts follow from the job's settings, with crops drawn as the method draws them; where crops lie round the highest
place so far, that place is taken to be the true one. Embeddings go through the network many at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import product

import numpy as np
import torch

from benchmarks.sd_correspondence.pieces import Pieces
from workers.methods.sd_correspondence.crops import Crops, Place, Window, crops_of
from workers.methods.sd_correspondence.groups import grouped
from workers.methods.sd_correspondence.options import Options
from workers.methods.sd_correspondence.plan import BATCH_GROUPS
from workers.methods.sd_correspondence.reader import generator
from workers.methods.sd_correspondence.squares import Points

ITEMS_AT_ONCE = 64


@dataclass(frozen=True)
class Counts:
    """How often each piece runs; see `Pieces`."""

    encoded: float = 0
    entered: float = 0
    """Noisy crops through the U-Net's prefix."""
    ran: float = 0
    """Embeddings through the rest of it."""
    attended: float = 0
    returned: float = 0
    fixed_steps: float = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(one + more for one, more in zip(astuple(self), astuple(other), strict=True)))

    def tflop(self, pieces: Pieces) -> float:
        """Of all of them."""
        gflop = (
            self.encoded * pieces.encode
            + self.entered * pieces.prefix
            + self.ran * (pieces.features - pieces.prefix)
            + self.attended * pieces.attend
            + self.returned * pieces.back
            + self.fixed_steps * pieces.fixed_step
        )
        return gflop / 1e3


def counted(options: Options, places: Points, found: Points, *, steps: float, cycle: bool) -> Counts:
    """Count a job.

    Args:
        options: of the job.
        places: (Q, 2) the points, in pixels of the square; of one batch.
        found: (Q, 2) where they lie in the target.
        steps: mean number of an embedding; fewer than `options.steps` where embeddings end early.
        cycle: whether it looks for what it found in the source again.
    """
    learnt, seen = learning(options, places, steps)
    known = seen | set(_bank(options, options.crop_bank))
    is_check = not options.adaptive
    there = learnt + Counts(encoded=len(known - seen)) + _read(options, places, known, corners_only=is_check)
    there += _read(options, found, set())
    if not cycle:
        return there
    known |= _read_crops(options, places, corners_only=is_check)
    learnt, _ = learning(options, found, steps)
    return there + learnt + _read(options, places, known)


def official_counted(options: Options, queries: int) -> tuple[int, int]:
    """Steps and readings of the official code, each with a crop of its own through all of both networks."""
    return queries * options.rounds * options.steps, queries * options.rounds * options.read_crops


def learning(options: Options, places: Points, steps: float) -> tuple[Counts, set[Window]]:
    """Count what it takes to learn the embeddings of points, in `steps` steps each, and tell which crops it sees."""
    groups = _groups(options, places)
    windows = _drawn(options, [places[group] for group in groups], round(steps))
    items = len(groups) * options.rounds
    if options.fixed_features:
        seen = len(windows)
        return Counts(encoded=seen, entered=seen, ran=seen, fixed_steps=items * steps), windows
    views = (len(groups) if options.shares_draws else items) * steps
    done = items * steps
    return Counts(encoded=len(windows), entered=views, ran=done, attended=done, returned=done), windows


def _read(options: Options, places: Points, known: set[Window], *, corners_only: bool = False) -> Counts:
    """Read an image, of which some crops are encoded, where points lie at `places`."""
    items = len(_groups(options, places)) * options.rounds
    windows = _read_crops(options, places, corners_only=corners_only)
    if options.adaptive:
        readings = items * options.read_crops
        return Counts(encoded=len(windows - known), entered=readings, ran=readings, attended=readings)
    count, encoded, readings = len(windows), len(windows - known), items * len(windows)
    if options.fixed_features:
        return Counts(encoded=encoded, entered=count, ran=count, attended=readings)
    passes = math.ceil(items / ITEMS_AT_ONCE)
    return Counts(encoded=encoded, entered=count * passes, ran=readings, attended=readings)


def _read_crops(options: Options, places: Points, *, corners_only: bool) -> set[Window]:
    """Crops in which an image is read."""
    if options.adaptive:
        return _adaptive(options, places)
    return set(_bank(options, len(_crops(options).corners()) if corners_only else options.read_crops))


def _groups(options: Options, places: Points) -> list[list[int]]:
    groups = grouped(places, options.points_per_embedding, options.grouping_distance)
    if len(groups) > BATCH_GROUPS:
        raise ValueError(f"{len(groups)} embeddings are more than one batch of {BATCH_GROUPS}; count fewer points")
    return groups


def _crops(options: Options) -> Crops:
    return crops_of(options.size, options.crop_percent)


def _bank(options: Options, count: int) -> list[Window]:
    return _crops(options).bank(count, generator("bank")) if count else []


def _drawn(options: Options, groups: Sequence[Points], steps: int) -> set[Window]:
    """Crops that the embeddings of groups of points see."""
    crops, bank = _crops(options), _bank(options, options.crop_bank)
    found: set[Window] = set()
    for number, group in enumerate(groups):
        single = len(group) == 1
        place = _place(group[0]) if single else (crops.size / 2, crops.size / 2)
        if bank:
            suited = crops.for_point(place, bank) if single else bank
            drawn = torch.randint(len(suited), (steps,), generator=generator("view", number))
            found |= {suited[index] for index in drawn.tolist()}
        else:
            source = generator("view", number)
            found |= {crops.draw(place, source) for _ in range(options.rounds * steps)}
    return found


def _adaptive(options: Options, places: Points) -> set[Window]:
    """Crops in which points are read, each round with the same random numbers for all of them."""
    crops = _crops(options)
    found = set(crops.corners())
    for number, place in product(range(options.rounds), places):
        source = generator("reading", number)
        found |= {crops.draw(_place(place), source) for _ in range(options.read_crops - len(crops.corners()))}
    return found


def _place(point: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Place:
    return float(point[0]), float(point[1])
