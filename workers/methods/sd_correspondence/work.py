"""A job laid out: images in their squares, queries in batches, and how they are searched for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from alignment.sampling import ImageSize
from api_schemas.methods.sd_correspondence import SdCorrespondenceParams
from workers.methods.base import InputImage
from workers.methods.features import Heartbeat
from workers.methods.sd_correspondence.kept import Kept
from workers.methods.sd_correspondence.options import Options, options_of
from workers.methods.sd_correspondence.passes import Passes, first_items
from workers.methods.sd_correspondence.pictures import Pictures, squares_of
from workers.methods.sd_correspondence.plan import Batch, batches_of, queries_of
from workers.methods.sd_correspondence.reader import Reader
from workers.methods.sd_correspondence.search import Search
from workers.run_context import Run


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

    @property
    def is_soft(self) -> bool:
        """Whether the centroid of a peak counts as found."""
        return self.params.subpixel == "local_soft"


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
