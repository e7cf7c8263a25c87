"""A job laid out: images in their squares, queries in batches, and how they are searched for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from alignment.sampling import ImageSize
from api_schemas.methods.sd_correspondence import SdCorrespondenceParams
from workers.methods.base import InputImage
from workers.methods.features import Heartbeat
from workers.methods.sd_correspondence.kept import Kept
from workers.methods.sd_correspondence.matches import Matches
from workers.methods.sd_correspondence.options import Options, options_of
from workers.methods.sd_correspondence.passes import Passes, first_items
from workers.methods.sd_correspondence.pictures import Pictures, squares_of
from workers.methods.sd_correspondence.plan import Batch, batches_of, queries_of
from workers.methods.sd_correspondence.reader import Reader
from workers.methods.sd_correspondence.search import Search
from workers.run_context import Run

_SELF_ERROR_SIGMAS = 2


@dataclass(frozen=True)
class Work:
    """What is to be done, and what does it."""

    images: Sequence[InputImage]
    params: SdCorrespondenceParams
    options: Options
    batches: Sequence[Batch]
    search: Search
    pulse: Heartbeat
    info: dict[str, JsonValue]
    """What the embeddings depend on."""

    def matches(self, shares: Mapping[int, Sequence[float]]) -> Matches:
        """Begin to gather what is found.

        Args:
            shares: per query what its embedding's rounds have left of the loss of no attention.
        """
        reach = _SELF_ERROR_SIGMAS * self.options.sigma
        limits = {index: reach * square.pixel for index, square in enumerate(self.search.pictures.squares)}
        return Matches(self.search.queries, shares, limits, soft=self.params.subpixel == "local_soft")


def lay_out(images: Sequence[InputImage], params: SdCorrespondenceParams, reader: Reader, run: Run) -> Work:
    """Lay out a job for a network."""
    pulse = Heartbeat(run)
    options = options_of(params)
    squares = squares_of(images, size=options.size, pad=params.resize == "pad")
    pictures = Pictures(images, squares, reader, options, run.seed, pulse.beat)
    queries = queries_of(params, [ImageSize(image.width, image.height) for image in images])
    batches = batches_of(queries, squares, options)
    passes = Passes(reader, pulse.log, items=first_items(reader.device, options.size))
    search = Search(pictures, queries, passes, Kept(pulse.resume), pulse)
    return Work(images, params, options, batches, search, pulse, _info(batches, pictures, params))


def _info(batches: Sequence[Batch], pictures: Pictures, params: SdCorrespondenceParams) -> dict[str, JsonValue]:
    groups: list[JsonValue] = [
        {"image": batch.image, "queries": list(group)} for batch in batches for group in batch.groups
    ]
    return {
        "reader": pictures.reader.identity,
        "seed": pictures.seed,
        "params": params.model_dump(mode="json", exclude={"queries", "grid", "targets"}),
        "sources": {str(image): pictures.fingerprint(image) for image in params.sources},
        "embeddings": groups,
    }
