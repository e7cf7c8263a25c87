"""Store uploads once and show them."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from api_schemas.base import ULID_PATTERN
from api_schemas.images import Image, ImageLinks
from api_schemas.problems import FieldError
from service.dependencies import Services
from service.identifiers import looks_like
from service.images.decoding import MediaType, NormalisedPicture, PictureError, PictureLimits, normalise, thumbnail
from service.problems import NOT_FOUND, TOO_FEW_IMAGES, ProblemError
from service.uploads import FILES_PART, ReceivedFile, disk_errors
from storage.blobs.base import BlobStore
from storage.blobs.keys import image_key
from storage.database.records import ImageRecord, NewImage
from storage.database.repositories.images import ImageRepository

IMAGE_ID = rf"img_{ULID_PATTERN}"


@dataclass(frozen=True)
class StoredImages:
    """The images of a request, in the order of its files."""

    records: list[ImageRecord]
    is_new: bool
    """Whether any of them was not known before."""


@dataclass(frozen=True)
class _Checked:
    """A picture that was taken, and the file with its normalised content."""

    file: ReceivedFile
    picture: NormalisedPicture
    path: Path


def store_images(services: Services, files: Sequence[ReceivedFile]) -> StoredImages:
    """Check, normalise and store uploaded files: all of them, or none when one is refused.

    The same bytes, uploaded again, are the same image.

    Raises:
        ProblemError: no file, or files that are not taken; each is named.
        StorageFullError: no space; nothing is kept.
    """
    if not files:
        detail = f"send at least one image file in a part named {FILES_PART!r}"
        raise ProblemError(TOO_FEW_IMAGES, detail)
    known = _known(services, {file.sha256 for file in files})
    first_seen = {file.sha256: file for file in reversed(files) if file.sha256 not in known}
    checked = _check(services, sorted(first_seen.values(), key=lambda file: file.index))
    added = _store(services, checked)
    records = known | {record.upload_sha256: record for record in added}
    return StoredImages([records[file.sha256] for file in files], bool(added))


def find_image(services: Services, image_id: str) -> ImageRecord:
    """Return an image.

    Raises:
        ProblemError: there is none of that id.
    """
    if looks_like(image_id, IMAGE_ID):
        with services.database.transaction(read_only=True) as session:
            record = ImageRepository(session).get(image_id)
        if record is not None:
            return record
    raise ProblemError(NOT_FOUND, f"there is no image {image_id[:64]!r}; POST /v1/images uploads one")


def make_thumbnail(services: Services, record: ImageRecord, size: int) -> bytes:
    """Return an image as a small WebP picture."""
    with services.blobs.path(record.blob_key) as path:
        return thumbnail(path, size)


def to_image(record: ImageRecord) -> Image:
    """Show an image to the client."""
    address = f"/v1/images/{record.id}"
    return Image(
        id=record.id,
        name=record.name,
        width=record.width,
        height=record.height,
        media_type=cast(MediaType, record.media_type),
        bytes=record.bytes,
        sha256=record.sha256,
        created_at=record.created_at,
        links=ImageLinks(self=address, content=f"{address}/content"),
    )


def _known(services: Services, digests: set[str]) -> dict[str, ImageRecord]:
    with services.database.transaction(read_only=True) as session:
        found = [ImageRepository(session).by_digest(digest) for digest in digests]
    return {record.upload_sha256: record for record in found if record is not None}


def _check(services: Services, files: Sequence[ReceivedFile]) -> list[_Checked]:
    limits = PictureLimits(services.settings.max_image_pixels, services.settings.max_image_side)
    checked: list[_Checked] = []
    refused: list[tuple[ReceivedFile, PictureError]] = []
    for file in files:
        target = file.path.with_suffix(".normalised")
        try:
            with disk_errors():
                checked.append(_Checked(file, normalise(file.path, target, limits), target))
        except PictureError as error:
            refused.append((file, error))
    if refused:
        raise _refusal(refused)
    return checked


def _refusal(refused: Sequence[tuple[ReceivedFile, PictureError]]) -> ProblemError:
    errors = [
        FieldError(pointer=file.pointer, code=error.code, detail=f"{file.name!r}: {error.detail}")
        for file, error in refused
    ]
    others = f" (and {len(refused) - 1} more, see errors)" if len(refused) > 1 else ""
    detail = f"{errors[0].detail}{others}; no image of this request was stored"
    return ProblemError(refused[0][1].kind, detail, errors=errors)


def _store(services: Services, checked: Sequence[_Checked]) -> list[ImageRecord]:
    images = [_describe(item) for item in checked]
    with services.storing, _taken_back_on_error(services.blobs) as written:
        for item, image in zip(checked, images, strict=True):
            if not services.blobs.exists(image.blob_key):
                with item.path.open("rb") as stream:
                    services.blobs.put(image.blob_key, stream)
                written.append(image.blob_key)
        with services.database.transaction() as session:
            repository = ImageRepository(session)
            return [repository.add(image) for image in images]


@contextmanager
def _taken_back_on_error(blobs: BlobStore) -> Iterator[list[str]]:
    """Yield a list of keys to remove if the block fails."""
    written: list[str] = []
    try:
        yield written
    except BaseException:
        for key in written:
            blobs.delete(key)
        raise


def _describe(item: _Checked) -> NewImage:
    with item.path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return NewImage(
        name=item.file.name,
        width=item.picture.width,
        height=item.picture.height,
        media_type=item.picture.media_type,
        bytes=item.path.stat().st_size,
        sha256=digest,
        upload_sha256=item.file.sha256,
        blob_key=image_key(digest),
    )
