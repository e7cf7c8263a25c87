"""Receive a submission in either of its forms."""

from collections.abc import Sequence

from anyio.to_thread import run_sync
from fastapi import Request

from api_schemas.jobs import JobCreate, JobOptions
from api_schemas.problems import FieldError
from service.dependencies import Services
from service.images.service import store_images
from service.jobs.refusals import refusal, refuse_any
from service.jobs.service import check_options
from service.json_bodies import parse_json
from service.problems import MALFORMED_BODY, MASKS_MISMATCH, REPEATED_IMAGE, UNSUPPORTED_MEDIA_TYPE, ProblemError
from service.uploads import FILES_PART, MASKS_PART, ReceivedFile, ReceivedForm, is_multipart, receive_form

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
    stored = [record.id for record in store_images(services, [*images, *masks]).records]
    image_ids, mask_ids = stored[: len(images)], stored[len(images) :]
    paired = dict(zip(image_ids, mask_ids, strict=True)) if masks else None
    return JobCreate(**dict(options), image_ids=image_ids, masks=paired)


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
