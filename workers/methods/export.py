"""From a method's result to the files of a result folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import JsonValue

from alignment.atlas import Atlas
from alignment.pairwise import PairwiseMaps
from alignment.self_check import self_check
from alignment.shape import Shape
from alignment.storage_format import write_form
from alignment.tensor_files import describe, write_tensors
from api_schemas.manifest import ArtifactDraft, ArtifactKind
from workers.methods.artifact_table import (
    BUNDLES,
    DOCUMENTS,
    FILES,
    IMAGE_PICTURES,
    IMAGE_TENSORS,
    TENSORS,
    TURNTABLE_FOLDER,
    StoredTensor,
    picture_kind,
)
from workers.methods.base import InputImage, MethodResult
from workers.rendering.asked_points import asked_points
from workers.rendering.congealed import Warped, average, congealed, frame_image, on_background
from workers.rendering.contact_sheet import TILE_GREY, Tile, contact_sheet, layout

CONGEALED_SIDE = 256
OVERLAYS = "overlays"
SHAPE_LABEL = "the shape"
PNG = "image/png"
JSON = "application/json"
_PNG_LEVEL = 4
Rgb = npt.NDArray[np.uint8]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Exported:
    """What was written."""

    artifacts: list[tuple[ArtifactDraft, Path]]
    self_check: dict[str, JsonValue]


def export(result: MethodResult, images: Sequence[InputImage], folder: Path) -> Exported:
    """Write a result below `folder` and check it.

    Args:
        result: of a method's `run`.
        images: the method's input, in order.
        folder: made if missing; artifacts are named relative to it.

    Raises:
        ValueError: the method named a tensor, picture or file that the manifest has no kind for, or gave some of its
            images none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = self_check(
        result.form,
        agreement=_figures(result, "agreement"),
        alignment_scores=_figures(result, "alignment_score"),
        consistency=_figures(result, "consistency"),
        outliers=[index for index, score in enumerate(result.scores) if score.get("outlier")],
        names=[image.name for image in images],
        warnings=result.warnings,
    )
    drafts = [
        *write_form(result.form, folder),
        *_write_pictures(result, folder),
        *_write_views(result, images, folder),
        *_write_tensors(result, folder),
        *_write_documents(result, folder),
        *_write_files(result, folder),
        *_write_scores(result, images, folder),
        _write_json(report, "self_check.json", ArtifactKind.SELF_CHECK, folder),
    ]
    return Exported([(draft, folder / draft.name) for draft in drafts], report)


def _figures(result: MethodResult, name: str) -> list[float]:
    """A figure of all images; empty where some lack it."""
    values = [value for score in result.scores if isinstance(value := score.get(name), float)]
    return values if len(values) == len(result.form.images) else []


def _write_pictures(result: MethodResult, folder: Path) -> list[ArtifactDraft]:
    drafts = [_write_png(pixels, f"{stem}.png", picture_kind(stem), folder) for stem, pixels in result.pictures.items()]
    for name, pictures in result.image_pictures.items():
        kind = _known(name, IMAGE_PICTURES, "picture")
        for index, pixels in _of_all_images(result, name, pictures):
            drafts.append(_write_png(pixels, f"pictures/{name}/{index:03d}.png", kind, folder, index))
    return drafts


def _write_views(result: MethodResult, images: Sequence[InputImage], folder: Path) -> list[ArtifactDraft]:
    """Each picture in the common frame (for an atlas), and the contact sheet."""
    form = result.form
    if isinstance(form, PairwiseMaps) and not form.maps and any(map(len, form.points.values())):
        return [_write_sheet(_points_sheet(form, result, images), folder)]
    if isinstance(form, Shape) and OVERLAYS in result.image_pictures:
        return [_write_sheet(_shape_sheet(result, images), folder)]
    views = congealed(form, [image.rgb for image in images], CONGEALED_SIDE)
    drafts = []
    if isinstance(form, Atlas):
        for index, view in enumerate(views):
            name = f"pictures/congealed/{index:03d}.png"
            drafts.append(_write_rgba(view, name, ArtifactKind.CONGEALED_IMAGE, folder, index))
    return [*drafts, _write_sheet(_views_sheet(result, images, views), folder)]


def _views_sheet(result: MethodResult, images: Sequence[InputImage], views: list[Warped]) -> Rgb:
    form = result.form
    frame = "joint atlas" if isinstance(form, Atlas) else f"frame of {images[frame_image(form)].name}"
    tiles = _tiles(result, images, [on_background(view, TILE_GREY) for view in views])
    kept = [view for view, tile in zip(views, tiles, strict=True) if not tile.outlier] or views
    turned = _first_of_turntable(result)
    return contact_sheet(
        tiles,
        on_background(average(kept), TILE_GREY) if turned is None else turned,
        title=f"{len(images)} images, aligned to the {frame}   ({result.backbone})",
        aligned_label="congealed" if isinstance(form, Atlas) else "warped",
        panel_label=None if turned is None else SHAPE_LABEL,
    )


def _shape_sheet(result: MethodResult, images: Sequence[InputImage]) -> Rgb:
    """Below each image the shape laid over it; the shape alone beside them, or the first overlay."""
    overlays = [picture for _, picture in _of_all_images(result, OVERLAYS, result.image_pictures[OVERLAYS])]
    turned = _first_of_turntable(result)
    return contact_sheet(
        _tiles(result, images, overlays),
        overlays[0] if turned is None else turned,
        title=f"{len(images)} images, aligned to one shape   ({result.backbone})",
        aligned_label="shape",
        panel_label=f"the shape over {images[0].name}" if turned is None else SHAPE_LABEL,
    )


def _first_of_turntable(result: MethodResult) -> Rgb | None:
    frames = sorted(name for name in result.pictures if name.startswith(TURNTABLE_FOLDER))
    return result.pictures[frames[0]] if frames else None


def _points_sheet(form: PairwiseMaps, result: MethodResult, images: Sequence[InputImage]) -> Rgb:
    asked = asked_points(form)
    plan = layout(len(images))
    source = images[asked.source]
    drawn = [asked.drawn_on(image.rgb, index, plan.tile) for index, image in enumerate(images)]
    count = len(asked.points)
    points = "1 point" if count == 1 else f"{count} points"
    return contact_sheet(
        _tiles(result, images, drawn),
        asked.drawn_on(source.rgb, asked.source, plan.panel),
        title=f"{len(images)} images, {points} of {source.name} looked for in the others   ({result.backbone})",
        aligned_label="points",
        panel_label="points asked for",
    )


def _tiles(result: MethodResult, images: Sequence[InputImage], lower: Sequence[Rgb]) -> list[Tile]:
    """Each image above, and what stands below it."""
    scores = result.scores or [{}] * len(images)
    return [
        Tile(image.rgb, picture, image.name, mirrored=bool(score.get("mirrored")), outlier=bool(score.get("outlier")))
        for image, picture, score in zip(images, lower, scores, strict=True)
    ]


def _write_sheet(sheet: Rgb, folder: Path) -> ArtifactDraft:
    return _write_png(sheet, "pictures/contact_sheet.png", ArtifactKind.CONTACT_SHEET, folder)


def _write_tensors(result: MethodResult, folder: Path) -> list[ArtifactDraft]:
    drafts = []
    for name, array in result.tensors.items():
        stored = _known(name, TENSORS, "tensor")
        drafts.append(_write_tensor(name, array, stored, f"{name}.safetensors", folder))
    for name, arrays in result.image_tensors.items():
        stored = _known(name, IMAGE_TENSORS, "tensor")
        for index, array in _of_all_images(result, name, arrays):
            file_name = f"tensors/{name}/{index:03d}.safetensors"
            drafts.append(_write_tensor(name, array, stored, file_name, folder, index))
    return drafts


def _write_documents(result: MethodResult, folder: Path) -> list[ArtifactDraft]:
    drafts = []
    for name, content in result.documents.items():
        drafts.append(_write_json(content, f"{name}.json", _known(name, DOCUMENTS, "document"), folder))
    for name, arrays in result.bundles.items():
        kind = _known(name, BUNDLES, "bundle")
        tensors = [describe(part, array, ["axis"] * array.ndim, "weights") for part, array in arrays.items()]
        drafts.append(write_tensors(folder, f"{name}.safetensors", kind, tensors, images=[]))
    return drafts


def _write_files(result: MethodResult, folder: Path) -> list[ArtifactDraft]:
    drafts = []
    for name, content in result.files.items():
        stored = _known(name, FILES, "file")
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        drafts.append(ArtifactDraft(name=name, kind=stored.kind, media_type=stored.media_type))
    return drafts


def _write_tensor(
    name: str, array: npt.NDArray[np.float32], stored: StoredTensor, file_name: str, folder: Path, *indices: int
) -> ArtifactDraft:
    described = describe(name, array.astype(stored.dtype), list(stored.axes), stored.frame)
    return write_tensors(folder, file_name, stored.kind, [described], images=list(indices))


def _known(name: str, table: dict[str, _T], what: str) -> _T:
    if name not in table:
        raise ValueError(f"{what} {name!r} has no artifact kind; known are {', '.join(table)}")
    return table[name]


def _of_all_images(result: MethodResult, name: str, items: Sequence[_T]) -> Iterable[tuple[int, _T]]:
    if len(items) != len(result.form.images):
        raise ValueError(f"{name!r} is given for {len(items)} of {len(result.form.images)} images; give it for all")
    return enumerate(items)


def _write_scores(result: MethodResult, images: Sequence[InputImage], folder: Path) -> list[ArtifactDraft]:
    if not result.scores:
        return []
    rows: list[JsonValue] = [
        {"index": index, "name": image.name, **scores}
        for index, (image, scores) in enumerate(zip(images, result.scores, strict=True))
    ]
    content: dict[str, JsonValue] = {"set": dict(result.set_scores)} if result.set_scores else {}
    return [_write_json(content | {"images": rows}, "transforms.json", ArtifactKind.TRANSFORMS, folder)]


def _write_png(pixels: Rgb, name: str, kind: ArtifactKind, folder: Path, *indices: int) -> ArtifactDraft:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=_PNG_LEVEL)
    return ArtifactDraft(name=name, kind=kind, media_type=PNG, images=list(indices))


def _write_rgba(view: Warped, name: str, kind: ArtifactKind, folder: Path, index: int) -> ArtifactDraft:
    """Write a PNG that is transparent where the picture is not seen."""
    rgba = np.concatenate([view.rgb, view.seen[..., None]], axis=-1)
    return _write_png((rgba.clip(0, 1) * 255).round().astype(np.uint8), name, kind, folder, index)


def _write_json(content: JsonValue, name: str, kind: ArtifactKind, folder: Path) -> ArtifactDraft:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return ArtifactDraft(name=name, kind=kind, media_type=JSON)
