"""From a method's result to the files of a result folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import JsonValue

from alignment.atlas import Atlas
from alignment.self_check import self_check
from alignment.storage_format import describe, write_form, write_tensors
from api_schemas.manifest import ArtifactDraft, ArtifactKind
from workers.methods.base import InputImage, MethodResult
from workers.rendering.congealed import Warped, average, congealed, on_background
from workers.rendering.contact_sheet import TILE_GREY, contact_sheet

CONGEALED_SIDE = 256
PNG = "image/png"
JSON = "application/json"
_PICTURE_KINDS = {"pictures/atlas_saliency": ArtifactKind.ATLAS_SALIENCY}
_TENSORS: dict[str, tuple[ArtifactKind, list[str], str]] = {
    "atlas_features": (ArtifactKind.ATLAS_FEATURES, ["channel", "y", "x"], "canonical"),
    "training_curve": (ArtifactKind.TRAINING_CURVE, ["row", "stage_step_loss"], "number"),
}


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
        ValueError: the method named a tensor or picture that the manifest has no kind for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = self_check(
        result.form,
        agreement=[float(score["agreement"]) for score in result.scores if "agreement" in score],
        outliers=[index for index, score in enumerate(result.scores) if score.get("outlier")],
    )
    drafts = [
        *write_form(result.form, folder),
        *_write_pictures(result, folder),
        *_write_views(result, images, folder),
        *_write_tensors(result, folder),
        *_write_scores(result, images, folder),
        _write_json(report, "self_check.json", ArtifactKind.SELF_CHECK, folder),
    ]
    return Exported([(draft, folder / draft.name) for draft in drafts], report)


def _write_pictures(result: MethodResult, folder: Path) -> list[ArtifactDraft]:
    return [
        _write_png(rgb, f"{stem}.png", _PICTURE_KINDS.get(stem, ArtifactKind.ATLAS_RGB), folder)
        for stem, rgb in result.pictures.items()
    ]


def _write_views(result: MethodResult, images: Sequence[InputImage], folder: Path) -> list[ArtifactDraft]:
    """Each picture in the common frame (for an atlas), and the contact sheet."""
    views = congealed(result.form, [image.rgb for image in images], CONGEALED_SIDE)
    drafts = []
    if isinstance(result.form, Atlas):
        for index, view in enumerate(views):
            name = f"pictures/congealed/{index:03d}.png"
            drafts.append(_write_rgba(view, name, ArtifactKind.CONGEALED_IMAGE, folder, index))
    sheet = _sheet(result, images, views)
    return [*drafts, _write_png(sheet, "pictures/contact_sheet.png", ArtifactKind.CONTACT_SHEET, folder)]


def _sheet(result: MethodResult, images: Sequence[InputImage], views: list[Warped]) -> npt.NDArray[np.uint8]:
    with_atlas = isinstance(result.form, Atlas)
    frame = "joint atlas" if with_atlas else f"frame of {images[0].name}"
    return contact_sheet(
        [image.rgb for image in images],
        [on_background(view, TILE_GREY) for view in views],
        on_background(average(views), TILE_GREY),
        names=[image.name for image in images],
        title=f"{len(images)} images, aligned to the {frame}   ({result.backbone})",
        aligned_label="congealed" if with_atlas else "warped",
    )


def _write_tensors(result: MethodResult, folder: Path) -> list[ArtifactDraft]:
    drafts = []
    for name, array in result.tensors.items():
        if name not in _TENSORS:
            raise ValueError(f"tensor {name!r} has no artifact kind; known are {', '.join(_TENSORS)}")
        kind, axes, frame = _TENSORS[name]
        drafts.append(
            write_tensors(folder, f"{name}.safetensors", kind, [describe(name, array, axes, frame)], images=[])
        )
    return drafts


def _write_scores(result: MethodResult, images: Sequence[InputImage], folder: Path) -> list[ArtifactDraft]:
    if not result.scores:
        return []
    rows: list[JsonValue] = [
        {"index": index, "name": image.name, **scores}
        for index, (image, scores) in enumerate(zip(images, result.scores, strict=True))
    ]
    return [_write_json({"images": rows}, "transforms.json", ArtifactKind.TRANSFORMS, folder)]


def _write_png(rgb: npt.NDArray[np.uint8], name: str, kind: ArtifactKind, folder: Path, *indices: int) -> ArtifactDraft:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rgb).save(path)
    return ArtifactDraft(name=name, kind=kind, media_type=PNG, images=list(indices))


def _write_rgba(view: Warped, name: str, kind: ArtifactKind, folder: Path, index: int) -> ArtifactDraft:
    """Write a PNG that is transparent where the picture is not seen."""
    rgba = np.concatenate([view.rgb, view.seen[..., None]], axis=-1)
    return _write_png((rgba.clip(0, 1) * 255).round().astype(np.uint8), name, kind, folder, index)


def _write_json(content: dict[str, JsonValue], name: str, kind: ArtifactKind, folder: Path) -> ArtifactDraft:
    (folder / name).write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return ArtifactDraft(name=name, kind=kind, media_type=JSON)
