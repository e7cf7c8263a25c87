"""Masks that come with a submission: whether they are wanted, and whether they fit the images."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from PIL import Image
from sqlalchemy.orm import Session

from api_schemas.methods.spec import MaskedParams, MethodParams, MethodSpec
from api_schemas.problems import FieldError
from service.dependencies import Services
from service.jobs.refusals import refusal, refuse_any
from service.problems import (
    IMAGE_NOT_FOUND,
    INVALID_PARAMS,
    MASK_EMPTY,
    MASK_SIZE,
    MASKS_MISMATCH,
    MASKS_NOT_TAKEN,
    json_pointer,
)
from storage.blobs.base import BlobStore
from storage.database.records import ImageRecord
from storage.database.repositories.images import ImageRepository

MASKS = json_pointer("masks")
# JPEG leaves traces of its blocks on a black picture.
DARKEST_OBJECT = 8


def with_saliency(spec: MethodSpec, params: MethodParams, *, has_masks: bool) -> MethodParams:
    """Resolve `saliency: auto`: `user` where masks are given, else `none`.

    Raises:
        ProblemError: masks are given and not used, or wanted and not given.
    """
    if not isinstance(params, MaskedParams):
        if has_masks:
            raise refusal(MASKS_NOT_TAKEN, f"{spec.id} takes no masks; leave them out", pointer=MASKS)
        return params
    if params.saliency == "auto":
        return params.model_copy(update={"saliency": "user" if has_masks else "none"})
    if has_masks and params.saliency != "user":
        detail = f"masks are given, but saliency {params.saliency!r} does not use them; take 'user' or leave them out"
        raise refusal(INVALID_PARAMS, detail, pointer=json_pointer("params", "saliency"))
    if not has_masks and params.saliency == "user":
        detail = "saliency 'user' needs a mask for every image; give them in `masks`, or take another saliency"
        raise refusal(MASKS_MISMATCH, detail, pointer=MASKS, code="missing")
    return params


def blank_masks(services: Services, masks: Mapping[str, str] | None) -> frozenset[str]:
    """Return the ids of the masks that mark nothing; ids that are not known are passed over.

    It decodes every mask, so it is no work for a transaction.
    """
    if not masks:
        return frozenset()
    with services.database.transaction(read_only=True) as session:
        records = ImageRepository(session).get_many(sorted(set(masks.values())))
    return frozenset(record.id for record in records if _is_blank(services.blobs, record))


def check_masks(
    session: Session, masks: Mapping[str, str], images: Sequence[ImageRecord], *, blank: Collection[str]
) -> None:
    """Refuse masks that do not fit the images.

    Args:
        session: to look the masks up.
        masks: of each image's id its mask's image id.
        images: those that need one.
        blank: ids of masks that mark nothing, see `blank_masks`.

    Raises:
        ProblemError: an image without mask or a mask without image, a mask that is not known, is not as large as its
            image, is itself an image of the set, or is empty.
    """
    refuse_any(MASKS_MISMATCH, list(_misplaced(masks, images)))
    known = {record.id: record for record in ImageRepository(session).get_many(sorted(set(masks.values())))}
    pairs = [(image, masks[image.id]) for image in images]
    missing = [_fault(image, "not-found", f"there is no image {mask!r}") for image, mask in pairs if mask not in known]
    refuse_any(IMAGE_NOT_FOUND, missing)
    refuse_any(MASK_SIZE, [fault for image, mask in pairs for fault in _size_faults(image, known[mask])])
    empty = [
        _fault(image, "mask-empty", f"{_named(known[mask])} marks nothing: paint the object of {_named(image)} white")
        for image, mask in pairs
        if mask in blank
    ]
    refuse_any(MASK_EMPTY, empty)


def _misplaced(masks: Mapping[str, str], images: Sequence[ImageRecord]) -> Iterator[FieldError]:
    ids = {image.id for image in images}
    for image in images:
        if image.id not in masks:
            detail = f"{_named(image)} has no mask; masks are given for all images or for none"
            yield FieldError(pointer=MASKS, code="missing", detail=detail)
        elif masks[image.id] in ids:
            yield _fault(image, "is-an-image", f"the mask {masks[image.id]} is itself an image of the set")
    for image_id in masks:
        if image_id not in ids:
            detail = f"{image_id} is not among the images that need a mask"
            yield FieldError(pointer=json_pointer("masks", image_id), code="unknown-image", detail=detail)


def _size_faults(image: ImageRecord, mask: ImageRecord) -> Iterator[FieldError]:
    if (image.width, image.height) != (mask.width, mask.height):
        detail = (
            f"{_named(mask)} is {mask.width} x {mask.height} pixels, its image {_named(image)} "
            f"{image.width} x {image.height}; a mask has the size of its image"
        )
        yield _fault(image, "mask-size", detail)


def _is_blank(blobs: BlobStore, record: ImageRecord) -> bool:
    with blobs.path(record.blob_key) as path, Image.open(path) as picture:
        picture.draft("L", picture.size)
        _, brightest = picture.convert("L").getextrema()
    return float(str(brightest)) <= DARKEST_OBJECT


def _named(image: ImageRecord) -> str:
    return f"{image.id} ({image.name!r})"


def _fault(image: ImageRecord, code: str, detail: str) -> FieldError:
    return FieldError(pointer=json_pointer("masks", image.id), code=code, detail=detail)
