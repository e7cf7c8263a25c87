"""Addresses of edits."""

from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response

from api_schemas.edits import Edit, EditPart
from api_schemas.pagination import Page
from service.blob_response import BlobResponse
from service.dependencies import ServicesDep
from service.edits.layers import LAYER_PART, SPEC_PART
from service.edits.service import create_edit, delete_edit, find_edit, find_result, list_edits
from service.openapi import binary, problems
from service.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, PageRequest, link_next
from service.problems import (
    BODY_TOO_LARGE,
    CAPABILITY_MISSING,
    EDIT_TOO_LARGE,
    IMAGE_NOT_FOUND,
    IMAGE_TOO_LARGE,
    IMAGE_TRUNCATED,
    INSUFFICIENT_STORAGE,
    INVALID_CURSOR,
    JOB_NOT_FINISHED,
    LAYER_EMPTY,
    LAYER_SHAPE,
    MALFORMED_BODY,
    NOT_AN_IMAGE,
    NOT_FOUND,
    NOT_READY,
    RANGE_NOT_SATISFIABLE,
    RESULT_UNAVAILABLE,
    UNSUPPORTED_MEDIA_TYPE,
)
from service.uploads import receive_form
from storage.blobs.keys import edit_key

router = APIRouter(prefix="/v1/jobs/{job_id}/edits", tags=["edits"])

EDIT_PROBLEMS = (
    MALFORMED_BODY,
    UNSUPPORTED_MEDIA_TYPE,
    NOT_FOUND,
    JOB_NOT_FINISHED,
    RESULT_UNAVAILABLE,
    CAPABILITY_MISSING,
    BODY_TOO_LARGE,
    IMAGE_TOO_LARGE,
    EDIT_TOO_LARGE,
    IMAGE_NOT_FOUND,
    IMAGE_TRUNCATED,
    NOT_AN_IMAGE,
    LAYER_EMPTY,
    LAYER_SHAPE,
    NOT_READY,
    INSUFFICIENT_STORAGE,
)
FORM: dict[str, Any] = {
    "type": "object",
    "required": [SPEC_PART, LAYER_PART],
    "properties": {
        SPEC_PART: {"$ref": "#/components/schemas/EditSpec"},
        LAYER_PART: {
            "type": "string",
            "format": "binary",
            "description": "PNG or WebP with straight alpha, or JPEG; it covers the whole atlas, which for a result "
            "of form `shape` is the mesh's texture, or the whole image.",
        },
    },
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": FORM, "encoding": {SPEC_PART: {"contentType": "application/json"}}}
        },
    }
}


@router.post(
    "",
    status_code=201,
    name="create_edit",
    response_model=Edit,
    responses={
        200: {"model": Edit, "description": "The same layer and specification were sent before."},
        **problems(*EDIT_PROBLEMS),
    },
    openapi_extra=BODY,
)
async def post_edit(job_id: str, request: Request, response: Response, services: ServicesDep) -> Edit:
    """Carry a painted layer to the images of a succeeded job; the answer comes when all pictures are stored.

    The form has a part `spec` (JSON) and the picture in a part `layer`. Sending both again makes no second edit.
    """
    parts, fields = frozenset({LAYER_PART}), frozenset({SPEC_PART})
    async with receive_form(request, services.settings, files=parts, fields=fields) as form:
        made = await run_sync(create_edit, services, job_id, form, limiter=services.editing)
    response.status_code = 201 if made.is_new else 200
    response.headers["Location"] = made.edit.links.self
    return made.edit


@router.get("", name="list_edits", responses=problems(NOT_FOUND, INVALID_CURSOR))
def get_edits(
    job_id: str,
    request: Request,
    response: Response,
    services: ServicesDep,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Page[Edit]:
    """List the edits of a job, newest first."""
    page = list_edits(services, job_id, PageRequest(limit, cursor, {"job_id": job_id}))
    link_next(request, response, page.next_cursor)
    return page


@router.get("/{edit_id}", responses=problems(NOT_FOUND))
def get_edit(job_id: str, edit_id: str, services: ServicesDep) -> Edit:
    """Describe an edit."""
    return find_edit(services, job_id, edit_id)


@router.delete("/{edit_id}", name="delete_edit", status_code=204, responses=problems(NOT_FOUND))
def delete_one(job_id: str, edit_id: str, services: ServicesDep) -> None:
    """Remove an edit and its pictures."""
    delete_edit(services, job_id, edit_id)


@router.head("/{edit_id}/results/{image_id}/{part}", include_in_schema=False)
@router.get(
    "/{edit_id}/results/{image_id}/{part}",
    response_class=Response,
    responses=binary("image/png") | problems(NOT_FOUND, RANGE_NOT_SATISFIABLE),
)
def get_edit_result(
    job_id: str,
    edit_id: str,
    image_id: str,
    part: EditPart,
    services: ServicesDep,
    download: Annotated[bool, Query(description="Send it as a download instead of showing it.")] = False,
) -> Response:
    """Return the paint as it lies on one image: alone, or over it; serves ranges, and 304 for `If-None-Match`."""
    result = find_result(services, job_id, edit_id, image_id)
    picture = result.layer if part == "layer" else result.composite
    return BlobResponse(
        services.blobs,
        edit_key(job_id, edit_id, image_id, part),
        sha256=picture.sha256,
        media_type="image/png",
        filename=f"{edit_id}-{result.index:03d}-{part}.png",
        download=download,
    )
