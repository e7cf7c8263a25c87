"""From queries to other images, and back."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from workers.methods.sd_correspondence.matches import Matches, in_upload
from workers.methods.sd_correspondence.meter import Meter
from workers.methods.sd_correspondence.plan import Batch, Query, batches_of
from workers.methods.sd_correspondence.readout import Found
from workers.methods.sd_correspondence.search import Learnt
from workers.methods.sd_correspondence.work import Work


def go_there(work: Work, learnt: Sequence[Learnt], matches: Matches, added: Collection[int] | None = None) -> None:
    """Find all queries in their targets and, as a check, in their own images; or in the `added` images alone."""
    visits = list(_visits(work, added))
    total = sum(
        work.search.units_to_find(visit.image, visit.batches(work), corners_only=visit.is_check) for visit in visits
    )
    meter = work.search.meter(total)
    for visit in visits:
        found = work.search.find(
            visit.image,
            visit.batches(work),
            [learnt[number] for number in visit.numbers],
            "own" if visit.is_own else "found",
            meter,
            corners_only=visit.is_check,
        )
        square = work.search.pictures.squares[visit.image]
        matches.there |= {(query, visit.image): in_upload(one, square) for query, one in found.items()}


def go_back(work: Work, matches: Matches, targets: Collection[int]) -> None:
    """Look for every point found in `targets` in its source again, by embeddings learnt where it was found."""
    by_pair: dict[tuple[int, int], list[int]] = {}
    for query, image in sorted(matches.there):
        source = matches.queries[query].image
        if image in targets and image != source and math.isfinite(matches.there[query, image].peak):
            by_pair.setdefault((source, image), []).append(query)
    sought = [_Sought.of(work, matches, source, image, asked) for (source, image), asked in by_pair.items()]
    meter = work.search.meter(sum(one.units(work) for one in sought))
    for one in sought:
        for query, match in zip(one.asked, one.found(work, meter), strict=True):
            matches.back[query, one.image] = (*match.place(soft=matches.soft), match.peak)


@dataclass(frozen=True)
class _Visit:
    """Batches, by number, that are looked for in an image."""

    image: int
    numbers: tuple[int, ...]
    is_own: bool
    """Whether it is the image that their points lie on."""
    is_check: bool
    """Whether the four corner crops do."""

    def batches(self, work: Work) -> list[Batch]:
        """The batches."""
        return [work.batches[number] for number in self.numbers]


@dataclass(frozen=True)
class _Sought:
    """Points found in `image` for queries of `source`, to be looked for in the latter."""

    source: int
    image: int
    asked: Sequence[int]
    points: Sequence[Query]
    batches: Sequence[Batch]

    @classmethod
    def of(cls, work: Work, matches: Matches, source: int, image: int, asked: Sequence[int]) -> Self:
        """Take the places where queries were found."""
        places = [matches.there[query, image].place(soft=matches.soft) for query in asked]
        points = [Query(image, x, y) for x, y in places]
        return cls(source, image, asked, points, batches_of(points, work.search.pictures.squares, work.options))

    def units(self, work: Work) -> int:
        """What it tells a meter."""
        return work.search.units_to_learn(self.batches) + work.search.units_to_find(self.source, self.batches)

    def found(self, work: Work, meter: Meter) -> list[Found]:
        """Learn the points and find them in the source."""
        search, key = work.search.for_queries(self.points), f"back-{self.source}-{self.image}"
        found = search.find(self.source, self.batches, search.learn(self.batches, key, meter), key, meter)
        square = work.search.pictures.squares[self.source]
        return [in_upload(found[index], square) for index in range(len(self.points))]


def _visits(work: Work, added: Collection[int] | None) -> Iterator[_Visit]:
    for image in range(len(work.images)):
        numbers = _wanted(work, image, added)
        for is_own in (True, False):
            chosen = tuple(number for number in numbers if (work.batches[number].image == image) is is_own)
            if chosen:
                yield _Visit(image, chosen, is_own, is_check=is_own and not work.options.adaptive)


def _wanted(work: Work, image: int, added: Collection[int] | None) -> list[int]:
    """Batches to be found in an image."""
    return [number for number, batch in enumerate(work.batches) if _is_wanted(work, batch, image, added)]


def _is_wanted(work: Work, batch: Batch, image: int, added: Collection[int] | None) -> bool:
    if added is not None:
        return image in added
    return image == batch.image or image in work.params.targets_of(batch.image, len(work.images))
