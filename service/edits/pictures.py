"""Make and store the pictures of an edit."""

import io
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import JsonValue

from alignment.edits import composite, propagate
from alignment.layers import Layer
from alignment.sampling import ImageSize
from api_schemas.edits import EditSpec
from api_schemas.manifest import ManifestImage
from service.dependencies import Services
from service.images.decoding import FORMATS
from service.problems import NOT_FOUND, NOT_READY, ProblemError
from service.queries.open_results import OpenResult
from storage.blobs.keys import edit_key, image_key
from storage.errors import BlobNotFoundError

UInt8 = npt.NDArray[np.uint8]

PNG_COMPRESSION: Final = 4


@dataclass(frozen=True)
class EditInProgress:
    """An edit whose pictures are being made."""

    id: str
    result: OpenResult
    layer: Layer
    source: int | None
    """Index of the image that was painted on; None for the atlas."""
    spec: EditSpec


def make_pictures(services: Services, edit: EditInProgress, image: ManifestImage) -> JsonValue:
    """Carry the edit to one image, store its pictures and describe them.

    Raises:
        ProblemError: the image's own bytes are gone, or the service is about to end.
        StorageFullError: no space for the pictures.
    """
    if services.closing.is_set():
        raise ProblemError(NOT_READY, "the service is about to end; send the edit again", retry_after_s=5)
    size = result_size(image, edit.spec.max_side)
    layer = propagate(
        edit.result.form,
        edit.layer,
        source=edit.source,
        target=image.index,
        size=size,
        opacity=edit.spec.opacity,
        by_confidence=edit.spec.saliency,
    )
    laid_over = composite(_picture(services, image, size), layer, edit.spec.blend)
    return {
        "index": image.index,
        "image": image.id,
        "width": size.width,
        "height": size.height,
        "coverage": round(float((layer[..., 3] > 0).mean()), 6),
        "layer": _store(services, edit, image, "layer", layer),
        "composite": _store(services, edit, image, "composite", laid_over),
    }


def result_size(image: ManifestImage, max_side: int) -> ImageSize:
    """Return the size of the results for an image: its longer side at most `max_side`, and never above its own."""
    scale = min(1.0, max_side / max(image.width, image.height))
    return ImageSize(max(1, round(image.width * scale)), max(1, round(image.height * scale)))


def _picture(services: Services, image: ManifestImage, size: ImageSize) -> UInt8:
    try:
        with services.blobs.path(image_key(image.sha256)) as path, Image.open(path, formats=FORMATS) as picture:
            picture.draft("RGB", (size.width, size.height))
            scaled = picture.convert("RGB").resize((size.width, size.height), Image.Resampling.LANCZOS)
    except BlobNotFoundError as error:
        detail = f"the stored bytes of image {image.id} are gone; was the data folder cleared?"
        raise ProblemError(NOT_FOUND, detail) from error
    return np.asarray(scaled)


def _store(services: Services, edit: EditInProgress, image: ManifestImage, part: str, pixels: UInt8) -> JsonValue:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=PNG_COMPRESSION)
    key = edit_key(edit.result.manifest.job_id, edit.id, image.id, part)
    stored = services.blobs.put(key, stream.getvalue())
    return {"bytes": stored.bytes, "sha256": stored.sha256}
