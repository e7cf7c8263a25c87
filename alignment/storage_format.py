"""Write a form into a result folder and read it back, memory-mapped."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from alignment.atlas import Atlas
from alignment.forms import Form
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize
from alignment.shape import Shape
from alignment.shape_storage import read_shape, write_shape
from alignment.tensor_files import SAFETENSORS_MEDIA_TYPE, describe, memory_map, write_tensors
from api_schemas.manifest import ArtifactDraft, ArtifactKind, Manifest, ResultForm, Tensor

__all__ = [
    "SAFETENSORS_MEDIA_TYPE",
    "describe",
    "form_kind",
    "memory_map",
    "read_form",
    "write_form",
    "write_tensors",
]

_Maps = dict[tuple[int, int], npt.NDArray[np.float32]]
_Confidence = dict[tuple[int, int], npt.NDArray[np.floating]]
_PIXELS = "image_pixels"
_CANONICAL = "canonical"
_CONFIDENCE = "share"
_NOWHERE = "NaN where the image point has no place in the atlas"
_UNMATCHED = "NaN where the image point has no match"
_NOT_FOUND = "NaN where the point was not found"


def form_kind(form: Form) -> ResultForm:
    """Name the form of a result."""
    if isinstance(form, Shape):
        return ResultForm.SHAPE
    return ResultForm.ATLAS if isinstance(form, Atlas) else ResultForm.PAIRWISE_MAPS


def write_form(form: Form, folder: Path) -> list[ArtifactDraft]:
    """Write the arrays of a form below `folder`: maps as float32, confidences as float16; of a shape its mesh too.

    Coordinates keep float32: at half precision a pixel coordinate beyond 2048 would move by a whole pixel.
    """
    if isinstance(form, Shape):
        return write_shape(form, folder)
    return _write_atlas(form, folder) if isinstance(form, Atlas) else _write_pairs(form, folder)


def read_form(manifest: Manifest, resolve: Callable[[str], Path]) -> Form:
    """Open the form of a finished job.

    Args:
        manifest: the job's manifest.
        resolve: gives the local file of an artifact by its name; the file must stay while the form is in use.
    """
    sizes = tuple(ImageSize(image.width, image.height) for image in manifest.images)
    if manifest.form is ResultForm.ATLAS:
        return _read_atlas(sizes, resolve)
    if manifest.form is ResultForm.SHAPE:
        return read_shape(sizes, resolve)
    maps, confidence = _read_maps(len(sizes), _sources(manifest, ArtifactKind.PAIR_MAPS), resolve)
    points = _read_points(_sources(manifest, ArtifactKind.PAIR_POINTS), resolve)
    return PairwiseMaps(images=sizes, maps=maps, confidence=confidence, points=points)


def _write_atlas(atlas: Atlas, folder: Path) -> list[ArtifactDraft]:
    drafts = []
    for index, (forward, backward, confidence) in enumerate(
        zip(atlas.to_canonical, atlas.from_canonical, atlas.confidence, strict=True)
    ):
        tensors = [
            describe("map", forward.astype(np.float32), ["y", "x", "xy"], _CANONICAL, missing=_NOWHERE),
            describe("confidence", confidence.astype(np.float16), ["y", "x"], _CONFIDENCE),
        ]
        drafts.append(write_tensors(folder, _to_name(index), ArtifactKind.MAP_TO_CANONICAL, tensors, [index]))
        tensors = [describe("map", backward.astype(np.float32), ["y", "x", "xy"], _PIXELS)]
        drafts.append(write_tensors(folder, _from_name(index), ArtifactKind.MAP_FROM_CANONICAL, tensors, [index]))
    return drafts


def _read_atlas(sizes: tuple[ImageSize, ...], resolve: Callable[[str], Path]) -> Atlas:
    forward = [memory_map(resolve(_to_name(index))) for index in range(len(sizes))]
    backward = [memory_map(resolve(_from_name(index))) for index in range(len(sizes))]
    return Atlas(
        images=sizes,
        to_canonical=tuple(tensors["map"] for tensors in forward),
        from_canonical=tuple(tensors["map"] for tensors in backward),
        confidence=tuple(tensors["confidence"] for tensors in forward),
    )


def _write_pairs(pairs: PairwiseMaps, folder: Path) -> list[ArtifactDraft]:
    drafts = []
    for source in range(len(pairs.images)):
        targets = sorted(target for start, target in pairs.maps if start == source)
        if targets:
            tensors = _pair_tensors(pairs, source, targets)
            drafts.append(write_tensors(folder, _pairs_name(source), ArtifactKind.PAIR_MAPS, tensors, [source]))
        targets = [target for target in range(len(pairs.images)) if pairs.has_points(source, target)]
        if targets:
            tensors = _point_tensors(pairs, source, targets)
            drafts.append(write_tensors(folder, _points_name(source), ArtifactKind.PAIR_POINTS, tensors, [source]))
    return drafts


def _pair_tensors(pairs: PairwiseMaps, source: int, targets: list[int]) -> list[tuple[Tensor, npt.NDArray[np.generic]]]:
    """Arrays by target: over all images where all are mapped, with the source's own left empty, else over `targets`."""
    count, shape = len(pairs.images), pairs.grid(source)
    is_whole = len(targets) == count - 1
    rows = count if is_whole else len(targets)
    maps = np.full((rows, *shape, 2), np.nan, dtype=np.float32)
    confidence = np.zeros((rows, *shape), dtype=np.float16)
    for place, target in enumerate(targets):
        row = target if is_whole else place
        maps[row] = pairs.maps[source, target]
        confidence[row] = pairs.confidence[source, target]
    tensors = [
        describe("map", maps, ["target", "y", "x", "xy"], _PIXELS, missing=_UNMATCHED),
        describe("confidence", confidence, ["target", "y", "x"], _CONFIDENCE),
    ]
    if not is_whole:
        tensors.append(describe("targets", np.array(targets, dtype=np.int16), ["target"], "index of the image"))
    return tensors


def _point_tensors(
    pairs: PairwiseMaps, source: int, targets: list[int]
) -> list[tuple[Tensor, npt.NDArray[np.generic]]]:
    """All rows of a source, those of one target together."""
    rows = [np.asarray(pairs.points[source, target], dtype=np.float32) for target in targets]
    column = np.repeat(np.array(targets, dtype=np.int16), [len(each) for each in rows])
    frame = "pixels of the source, pixels of the target, share"
    return [
        describe("points", np.concatenate(rows), ["point", "x_y_x_y_confidence"], frame, missing=_NOT_FOUND),
        describe("pair", column, ["point"], "index of the target"),
    ]


def _sources(manifest: Manifest, kind: ArtifactKind) -> list[int]:
    return [index for artifact in manifest.artifacts if artifact.kind is kind for index in artifact.images]


def _read_maps(count: int, sources: list[int], resolve: Callable[[str], Path]) -> tuple[_Maps, _Confidence]:
    maps: _Maps = {}
    confidence: _Confidence = {}
    for source in sources:
        tensors = memory_map(resolve(_pairs_name(source)))
        listed = tensors.get("targets")
        targets = range(count) if listed is None else [int(target) for target in listed]
        for row, target in enumerate(targets):
            if target != source:
                maps[source, target] = tensors["map"][row]
                confidence[source, target] = tensors["confidence"][row]
    return maps, confidence


def _read_points(sources: list[int], resolve: Callable[[str], Path]) -> _Maps:
    points: _Maps = {}
    for source in sources:
        tensors = memory_map(resolve(_points_name(source)))
        targets, starts, counts = np.unique(tensors["pair"], return_index=True, return_counts=True)
        for target, start, count in zip(targets.tolist(), starts.tolist(), counts.tolist(), strict=True):
            points[source, int(target)] = tensors["points"][start : start + count]
    return points


def _to_name(index: int) -> str:
    return f"maps/to_canonical/{index:03d}.safetensors"


def _from_name(index: int) -> str:
    return f"maps/from_canonical/{index:03d}.safetensors"


def _pairs_name(index: int) -> str:
    return f"maps/pairs/{index:03d}.safetensors"


def _points_name(index: int) -> str:
    return f"maps/points/{index:03d}.safetensors"
