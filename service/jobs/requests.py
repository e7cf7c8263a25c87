"""Receive a submission in either of its forms."""

from collections import Counter
from collections.abc import Sequence

from anyio.to_thread import run_sync
from fastapi import Request

from api_schemas.annotations.model import Annotations
from api_schemas.jobs import JobCreate, JobOptions
from api_schemas.problems import FieldError
from service.dependencies import Services
from service.images.service import store_images
from service.jobs.refusals import refusal, refuse_any
from service.jobs.service import check_options
from service.json_bodies import parse_json
from service.problems import (
    ANNOTATIONS_MISMATCH,
    MALFORMED_BODY,
    MASKS_MISMATCH,
    REPEATED_IMAGE,
    UNSUPPORTED_MEDIA_TYPE,
    ProblemError,
    json_pointer,
)
from service.uploads import FILES_PART, MASKS_PART, ReceivedFile, ReceivedForm, is_multipart, receive_form
from service.validation import shown

SPEC_PART = "spec"


async def receive_submission(services: Services, request: Request) -> JobCreate:
    """Read a submission; images that come with it are stored.

    Raises:
        ProblemError: it is malformed, or would not be accepted, in which case no image is stored.
        StorageFullError: no space for the images.
    """
    if is_multipart(request):
        parts = frozenset({FILES_PART, MASKS_PART})
        async with receive_form(request, services.settings, files=parts, fields=frozenset({SPEC_PART})) as form:
            return await run_sync(_store_one_shot, services, form, limiter=services.decoding)
    media_type = request.headers.get("content-type", "none").split(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        detail = f"the Content-Type is {media_type[:100]}; send application/json or multipart/form-data"
        raise ProblemError(UNSUPPORTED_MEDIA_TYPE, detail)
    return parse_json(await request.body(), JobCreate)


def _store_one_shot(services: Services, form: ReceivedForm) -> JobCreate:
    if SPEC_PART not in form.fields:
        detail = f'the form needs a part {SPEC_PART!r} with JSON such as {{"method": "nearest_neighbors"}}'
        raise refusal(MALFORMED_BODY, detail, pointer=f"/{SPEC_PART}", code="missing")
    options = parse_json(form.fields[SPEC_PART], JobOptions, pointer=(SPEC_PART,))
    images, masks = form.files_of(FILES_PART), form.files_of(MASKS_PART)
    check_options(services, options, images=len(images), has_masks=bool(masks), pointer=f"/{FILES_PART}")
    _refuse_odd_masks(images, masks)
    _refuse_repeated(images)
    _refuse_unplaced(options.annotations, images)
    stored = [record.id for record in store_images(services, [*images, *masks]).records]
    image_ids, mask_ids = stored[: len(images)], stored[len(images) :]
    paired = dict(zip(image_ids, mask_ids, strict=True)) if masks else None
    given = {**dict(options), "annotations": _by_id(options.annotations, images, image_ids)}
    return JobCreate(**given, image_ids=image_ids, masks=paired)


def _refuse_unplaced(annotations: Annotations | None, images: Sequence[ReceivedFile]) -> None:
    """Refuse annotations of files that do not come along, or that share a name."""
    counts = Counter(file.name for file in images)
    errors = []
    for name in annotations.images if annotations else ():
        if counts[name] != 1:
            found = "no file" if not counts[name] else f"{counts[name]} files"
            detail = f"{found} of the form are called {shown(name)}; name each annotated file by itself"
            pointer = json_pointer("annotations", "images", name)
            errors.append(FieldError(pointer=pointer, code="unknown-image", detail=detail))
    refuse_any(ANNOTATIONS_MISMATCH, errors)


def _by_id(
    annotations: Annotations | None, images: Sequence[ReceivedFile], image_ids: Sequence[str]
) -> Annotations | None:
    """Annotations by the images' ids: a picture that was known already may have another name."""
    if annotations is None:
        return None
    ids = {file.name: image_id for file, image_id in zip(images, image_ids, strict=True)}
    by_id = {ids[name]: entry for name, entry in annotations.images.items()}
    return annotations.model_copy(update={"images": by_id})


def _refuse_odd_masks(images: Sequence[ReceivedFile], masks: Sequence[ReceivedFile]) -> None:
    if masks and len(masks) != len(images):
        detail = (
            f"there are {len(images)} images and {len(masks)} masks; send one per image, in the same order, or none"
        )
        raise refusal(MASKS_MISMATCH, detail, pointer=f"/{MASKS_PART}", code="count")


def _refuse_repeated(files: Sequence[ReceivedFile]) -> None:
    first: dict[str, ReceivedFile] = {}
    errors = []
    for file in files:
        original = first.setdefault(file.sha256, file)
        if original is not file:
            detail = f"{file.name!r} is the same file as {original.name!r}; an image may stand only once in a set"
            errors.append(FieldError(pointer=file.pointer, code="repeated-image", detail=detail))
    refuse_any(REPEATED_IMAGE, errors)
