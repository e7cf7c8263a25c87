"""Jobs on pictures whose colours are their canonical coordinates, so that the truth is known."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import interpolate

from api_schemas.methods.sd_correspondence import SPEC, SdCorrespondenceParams
from workers.backbones.base import no_tick
from workers.evaluation.attention_bed import CanonicalReader, canonical_picture
from workers.methods.base import BaseResult, InputImage, MethodResult
from workers.methods.sd_correspondence.crops import crops_of
from workers.methods.sd_correspondence.options import Options, options_of
from workers.methods.sd_correspondence.pipeline import find_queries
from workers.methods.sd_correspondence.scene import Scene
from workers.methods.sd_correspondence.work import lay_out
from workers.run_context import Run

Floats = npt.NDArray[np.float64]
Placed = tuple[Floats, Floats]
"""The matrix A and the offset b of a picture's canonical coordinates A p + b."""

_ANGLE = np.deg2rad(12)
_TURN = np.array([[np.cos(_ANGLE), -np.sin(_ANGLE)], [np.sin(_ANGLE), np.cos(_ANGLE)]])
UPRIGHT: Placed = (np.eye(2), np.zeros(2))
TURNED: Placed = (0.9 * _TURN, np.array([0.12, -0.05]))
SHRUNK: Placed = (0.8 * np.eye(2), np.array([0.1, 0.1]))
ELSEWHERE: Placed = (0.2 * np.eye(2), np.array([0.75, 0.75]))
"""Shows nothing but a corner of the others."""
QUERIES = np.array([(205, 307), (300.5, 180.25), (150, 220)]) / 512
"""In the upright picture, as shares of its sides."""
TINY: dict[str, Any] = {"rounds": 2, "steps": 6, "crop_bank": 8, "read_crops": 5, "learning_rate": 0.02}
"""Tuning under which a job takes a second, and learns little."""


def image(placed: Placed, name: str, *, width: int = 256, height: int = 256) -> InputImage:
    """Draw an image."""
    picture = interpolate(canonical_picture(*placed)[None].clamp(0, 1), (height, width), mode="bilinear")[0]
    return InputImage(name, (picture.permute(1, 2, 0) * 255).round().byte().numpy())


def queries(source: InputImage, *, index: int = 0) -> list[dict[str, Any]]:
    """The queries in an upright image, as a job gives them."""
    return [{"image": index, "x": x * source.width, "y": y * source.height} for x, y in QUERIES]


def truth(placed: Placed, target: InputImage) -> Floats:
    """Where they lie in another image (P, 2), in its pixels."""
    matrix, offset = placed
    places: Floats = (QUERIES - offset) @ np.linalg.inv(matrix).T * [target.width, target.height]
    return places


def params(preset: str = "fast", **given: Any) -> SdCorrespondenceParams:
    """Parameters of a small job."""
    return SdCorrespondenceParams.model_validate({"preset": preset, "working_size": 256, **given})


def options(preset: str = "fast", **tuning: Any) -> Options:
    """Options of a small job."""
    return options_of(params(preset, tuning=tuning))


def scene(reader: CanonicalReader, chosen: Options, placed: Placed = UPRIGHT) -> Scene:
    """A picture as its parts see it."""
    picture = canonical_picture(*placed, size=chosen.size)
    return Scene(reader, picture, crops_of(chosen.size, chosen.crop_percent), tick=no_tick)


def local(seed: int = 0) -> Run:
    """A run that knows the method's stages."""
    return Run.local(seed=seed, stages=SPEC.stages)


def found(
    images: Sequence[InputImage],
    chosen: SdCorrespondenceParams,
    run: Run | None = None,
    *,
    reader: CanonicalReader | None = None,
) -> MethodResult:
    """Do a job."""
    return find_queries(lay_out(images, chosen, reader or CanonicalReader(), run or local()))


def as_base(result: MethodResult) -> BaseResult:
    """A result to which images are added."""
    return BaseResult(
        form=result.form,
        tensors=result.tensors,
        scores=result.scores,
        backbone_identity=result.backbone_identity,
        documents=result.documents,
        image_tensors=result.image_tensors,
    )


def points(result: MethodResult) -> dict[tuple[int, int], npt.NDArray[np.float32]]:
    """What was found, by source and target."""
    return dict(result.form.points)


def rows(result: MethodResult) -> list[dict[str, Any]]:
    """The document of all queries."""
    told: Any = result.documents["matches"]
    return list(told)


def as_tensor(places: Floats) -> torch.Tensor:
    """Points as groups hold them."""
    return torch.tensor(places, dtype=torch.float32)


SOURCE = image(UPRIGHT, "source.png")
WIDE = image(TURNED, "turned.png", width=300, height=200)
SMALL = image(SHRUNK, "shrunk.png", width=180, height=256)
THREE = [SOURCE, WIDE, SMALL]
TWO = queries(SOURCE)[:2]


def tiny(preset: str = "fast", **given: Any) -> SdCorrespondenceParams:
    """Parameters of a job that takes a second; two queries in the first image unless others are given."""
    return params(preset, tuning=TINY, **({"queries": TWO} | given))


def same(one: MethodResult, other: MethodResult) -> bool:
    """Whether two jobs found the same, bit by bit."""
    return (
        one.documents == other.documents
        and all(np.array_equal(points(one)[pair], points(other)[pair]) for pair in points(one))
        and all(np.array_equal(one.tensors[name], other.tensors[name], equal_nan=True) for name in one.tensors)
        and all(
            np.array_equal(heat, again, equal_nan=True)
            for heat, again in zip(one.image_tensors["heat_maps"], other.image_tensors["heat_maps"], strict=True)
        )
    )
