"""Receive a submission in either of its forms."""

from collections.abc import Sequence

from anyio.to_thread import run_sync
from fastapi import Request

from api_schemas.jobs import JobCreate, JobOptions
from api_schemas.problems import FieldError
from service.dependencies import Services
from service.images.service import store_images
from service.jobs.service import check_options
from service.json_bodies import parse_json
from service.problems import MALFORMED_BODY, UNSUPPORTED_MEDIA_TYPE, VALIDATION_ERROR, ProblemError
from service.uploads import FILES_PART, ReceivedFile, ReceivedForm, is_multipart, receive_form

SPEC_PART = "spec"


async def receive_submission(services: Services, request: Request) -> JobCreate:
    """Read a submission; images that come with it are stored.

    Raises:
        ProblemError: it is malformed, or would not be accepted, in which case no image is stored.
        StorageFullError: no space for the images.
    """
    if is_multipart(request):
        async with receive_form(request, services.settings, fields=frozenset({SPEC_PART})) as form:
            return await run_sync(_store_one_shot, services, form, limiter=services.decoding)
    media_type = request.headers.get("content-type", "none").split(";")[0].strip().lower()
    if media_type != "application/json" and not media_type.endswith("+json"):
        detail = f"the Content-Type is {media_type[:100]}; send application/json or multipart/form-data"
        raise ProblemError(UNSUPPORTED_MEDIA_TYPE, detail)
    return parse_json(await request.body(), JobCreate)


def _store_one_shot(services: Services, form: ReceivedForm) -> JobCreate:
    if SPEC_PART not in form.fields:
        detail = f'the form needs a part {SPEC_PART!r} with JSON such as {{"method": "nearest_neighbors"}}'
        error = FieldError(pointer=f"/{SPEC_PART}", code="missing", detail=detail)
        raise ProblemError(MALFORMED_BODY, detail, errors=[error])
    options = parse_json(form.fields[SPEC_PART], JobOptions, pointer=(SPEC_PART,))
    check_options(services, options, images=len(form.files), pointer=f"/{FILES_PART}")
    _refuse_repeated(form.files)
    stored = store_images(services, form.files)
    image_ids = [record.id for record in stored.records]
    return JobCreate(**dict(options), image_ids=image_ids)


def _refuse_repeated(files: Sequence[ReceivedFile]) -> None:
    first: dict[str, ReceivedFile] = {}
    errors = []
    for file in files:
        original = first.setdefault(file.sha256, file)
        if original is not file:
            detail = f"{file.name!r} is the same file as {original.name!r}; an image may stand only once in a set"
            errors.append(FieldError(pointer=file.pointer, code="repeated-image", detail=detail))
    if errors:
        raise ProblemError(VALIDATION_ERROR, errors[0].detail, errors=errors)
