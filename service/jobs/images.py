"""The images of a submission: which they are, and whether the method can take them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api_schemas.jobs import JobCreate
from api_schemas.methods.spec import Misfit, PixelSize
from api_schemas.problems import FieldError
from service.image_sets.service import known_images
from service.jobs.costs import check_costs
from service.jobs.refusals import refusal, refuse_any
from service.jobs.submission import ResolvedSubmission
from service.problems import (
    IMAGE_SET_NOT_FOUND,
    IMAGE_SHAPE,
    INVALID_PARAMS,
    REPEATED_IMAGE,
    TOO_FEW_IMAGES,
    TOO_MANY_IMAGES,
    json_pointer,
)
from service.settings import ServiceSettings
from storage.database.records import ImageRecord
from storage.database.repositories.images import ImageSetRepository

MIN_IMAGE_SIDE = 16
MAX_IMAGE_ASPECT = 16


@dataclass(frozen=True)
class ChosenImages:
    """The images that a job is to work on."""

    before: list[ImageRecord]
    """Those of the extended job."""
    new: list[ImageRecord]
    pointers: list[str]
    """To each new image in the request."""
    image_set_id: str | None
    """The set that holds exactly these, where there is one already."""

    @property
    def all(self) -> list[ImageRecord]:
        """All images, those of the extended job first."""
        return self.before + self.new


def choose_images(
    session: Session, body: JobCreate, resolved: ResolvedSubmission, *, settings: ServiceSettings
) -> ChosenImages:
    """Return the images of a submission.

    Args:
        session: to look them up.
        body: names them.
        resolved: what the submission asks for.
        settings: the limits.

    Raises:
        ProblemError: an image or the set is not known; too few or too many images for the method, or for what a job
            may cost; one that stands twice, or of which no feature can be told; parameters that do not fit the sizes.
    """
    source = "image_ids" if body.image_set_id is None else "image_set_id"
    image_ids = body.image_ids or [] if body.image_set_id is None else _images_of(session, body.image_set_id)
    check_count(resolved, len(image_ids), pointer=json_pointer(source), settings=settings)
    is_listed = body.image_set_id is None
    pointers = [json_pointer(source, index) if is_listed else f"/{source}" for index in range(len(image_ids))]
    chosen = ChosenImages(
        before=resolved.base.images if resolved.base else [],
        new=known_images(session, image_ids),
        pointers=pointers,
        image_set_id=None if resolved.base else body.image_set_id,
    )
    refuse_any(REPEATED_IMAGE, list(_repetitions(chosen)))
    refuse_any(IMAGE_SHAPE, list(_odd_shapes(chosen)))
    sizes = [PixelSize(image.width, image.height) for image in chosen.all]
    refuse_any(INVALID_PARAMS, _faults(resolved.params.size_misfits(sizes), code="outside-image"))
    return chosen


def check_count(resolved: ResolvedSubmission, new: int, *, pointer: str, settings: ServiceSettings) -> None:
    """Refuse image sets that are too small or too large for the method, its parameters or what a job may cost.

    Args:
        resolved: what the submission asks for.
        new: number of images beside those of the extended job.
        pointer: to them in the request.
        settings: the limits.

    Raises:
        ProblemError: the number does not fit.
    """
    spec, before = resolved.spec, len(resolved.base.images) if resolved.base else 0
    count = before + new
    of_which = f" ({before} of the extended job and {new} new)" if before else ""
    if new == 0 or count < spec.min_images:
        needed = "at least 1 image to add" if before else f"at least {spec.min_images} images"
        raise refusal(TOO_FEW_IMAGES, f"{spec.id} needs {needed}, got {new}", pointer=pointer)
    if count > spec.max_images:
        detail = f"{spec.id} takes at most {spec.max_images} images, got {count}{of_which}; submit them in several sets"
        raise refusal(TOO_MANY_IMAGES, detail, pointer=pointer)
    refuse_any(INVALID_PARAMS, _faults(resolved.params.set_misfits(count), code="unfit-for-set"))
    check_costs(resolved, count, pointer=pointer, settings=settings)


def _faults(misfits: Sequence[Misfit], *, code: str) -> list[FieldError]:
    return [
        FieldError(pointer=json_pointer("params", *misfit.path), code=code, detail=misfit.detail) for misfit in misfits
    ]


def _repetitions(chosen: ChosenImages) -> Iterator[FieldError]:
    first = {image.sha256: image for image in reversed(chosen.before)}
    for image, pointer in zip(chosen.new, chosen.pointers, strict=True):
        original = first.setdefault(image.sha256, image)
        if original is not image:
            where = " of the extended job" if original in chosen.before else ""
            detail = (
                f"{image.id} ({image.name!r}) holds the same picture as {original.id} ({original.name!r}){where}; "
                "a picture may stand only once in a set"
            )
            yield FieldError(pointer=pointer, code="repeated-image", detail=detail)


def _odd_shapes(chosen: ChosenImages) -> Iterator[FieldError]:
    """Find images of which no feature can be told: a side below a patch, or far below the other."""
    for image, pointer in zip(chosen.new, chosen.pointers, strict=True):
        fault = _shape_fault(image)
        if fault:
            yield FieldError(pointer=pointer, code="image-shape", detail=fault)


def _shape_fault(image: ImageRecord) -> str | None:
    short, long = sorted((image.width, image.height))
    is_what = f"image {image.id} is {image.width} x {image.height} pixels"
    if short < MIN_IMAGE_SIDE:
        return f"{is_what}; both sides must have at least {MIN_IMAGE_SIDE}"
    if long > MAX_IMAGE_ASPECT * short:
        return f"{is_what}; the longer side may be at most {MAX_IMAGE_ASPECT} times the shorter, crop it"
    return None


def _images_of(session: Session, image_set_id: str) -> Sequence[str]:
    record = ImageSetRepository(session).get(image_set_id)
    if record is not None:
        return record.image_ids
    detail = f"there is no image set {image_set_id!r}; POST /v1/image-sets makes one"
    raise refusal(IMAGE_SET_NOT_FOUND, detail, pointer="/image_set_id", code="not-found")
