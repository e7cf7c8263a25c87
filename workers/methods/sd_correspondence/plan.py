"""What is looked for: the queries, which of them share an embedding, and which are optimised together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alignment.sampling import ImageSize, cell_centres
from api_schemas.methods.sd_correspondence import SdCorrespondenceParams
from workers.methods.sd_correspondence.groups import grouped
from workers.methods.sd_correspondence.options import Options
from workers.methods.sd_correspondence.squares import Points, Square

BATCH_GROUPS = 16
"""Embeddings a round that are optimised side by side: what a lost run does again at most."""


@dataclass(frozen=True)
class Query:
    """A point to be found: image by index, x and y in pixels of the upload."""

    image: int
    x: float
    y: float
    id: str | None = None


@dataclass(frozen=True)
class Batch:
    """Groups of points of one image, each with an embedding of its own."""

    image: int
    groups: tuple[tuple[int, ...], ...]
    """Indices of the queries."""

    @property
    def queries(self) -> list[int]:
        """Of all groups."""
        return [index for group in self.groups for index in group]

    @property
    def tokens(self) -> int:
        """Points of the largest group."""
        return max(map(len, self.groups))


def queries_of(params: SdCorrespondenceParams, sizes: Sequence[ImageSize]) -> list[Query]:
    """List the points: those given, or the centres of the grid's cells, row by row."""
    if params.queries is not None:
        return [Query(query.image, query.x, query.y, query.id) for query in params.queries]
    assert params.grid is not None
    image, side = params.grid.image, params.grid.side
    places = cell_centres(side, side, sizes[image].extent).reshape(-1, 2)
    return [Query(image, float(x), float(y)) for x, y in places]


def batches_of(queries: Sequence[Query], squares: Sequence[Square], options: Options) -> list[Batch]:
    """Divide queries into groups that share an embedding, and these into batches."""
    batches = []
    for image in sorted({query.image for query in queries}):
        own = [index for index, query in enumerate(queries) if query.image == image]
        places = places_of([queries[index] for index in own], squares[image])
        groups = [
            tuple(own[place] for place in group)
            for group in grouped(places, options.points_per_embedding, options.grouping_distance)
        ]
        batches += [
            Batch(image, tuple(groups[first : first + BATCH_GROUPS])) for first in range(0, len(groups), BATCH_GROUPS)
        ]
    return batches


def places_of(queries: Sequence[Query], square: Square) -> Points:
    """Places (P, 2) of points of one image in its square."""
    return square.inward(np.array([(query.x, query.y) for query in queries], dtype=np.float64).reshape(-1, 2))
