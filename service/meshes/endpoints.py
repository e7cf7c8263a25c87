"""Addresses of uploaded meshes."""

from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response

from alignment.glb import GLB_MEDIA_TYPE
from api_schemas.meshes import Mesh
from api_schemas.pagination import Page
from service.blob_response import BlobResponse
from service.dependencies import ServicesDep
from service.meshes.service import (
    MESH_PART,
    NAME_PART,
    content_name,
    find_mesh,
    list_meshes,
    mesh_file_limit,
    store_mesh,
    to_mesh,
)
from service.openapi import binary, problems
from service.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, PageRequest, link_next
from service.problems import (
    BODY_TOO_LARGE,
    INSUFFICIENT_STORAGE,
    INVALID_CURSOR,
    MALFORMED_BODY,
    MESH_DAMAGED,
    MESH_EMPTY,
    MESH_TOO_LARGE,
    NOT_FOUND,
    RANGE_NOT_SATISFIABLE,
    TOO_MANY_IMAGES,
    UNSUPPORTED_MEDIA_TYPE,
    UNSUPPORTED_MESH,
)
from service.uploads import receive_form

router = APIRouter(prefix="/v1/meshes", tags=["meshes"])

UPLOAD_PROBLEMS = (
    MALFORMED_BODY,
    UNSUPPORTED_MEDIA_TYPE,
    BODY_TOO_LARGE,
    TOO_MANY_IMAGES,
    MESH_TOO_LARGE,
    UNSUPPORTED_MESH,
    MESH_DAMAGED,
    MESH_EMPTY,
    INSUFFICIENT_STORAGE,
)
FORM: dict[str, Any] = {
    "type": "object",
    "required": [MESH_PART],
    "properties": {
        MESH_PART: {
            "type": "string",
            "format": "binary",
            "description": "GLB, OBJ or PLY, or a ZIP with one of them, its MTL and its texture pictures.",
        },
        NAME_PART: {"type": "string", "maxLength": 200, "description": "What to call it; the file's name if left out."},
    },
}
BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}}


@router.post(
    "",
    status_code=201,
    response_model=Mesh,
    responses={200: {"model": Mesh, "description": "The mesh was known already."}, **problems(*UPLOAD_PROBLEMS)},
    openapi_extra=BODY,
)
async def upload_mesh(request: Request, response: Response, services: ServicesDep) -> Mesh:
    """Upload a mesh in a part named `mesh`; it is joined into one surface, cleaned and stored as GLB.

    What a scene's nodes place is placed; materials become one texture or colours of vertices; faces without area are
    dropped; meshes of very many faces are simplified. `warnings` of the answer say what was changed. Units and axes
    stay those of the file. The same file, uploaded again, keeps its id.
    """
    parts, fields, limit = frozenset({MESH_PART}), frozenset({NAME_PART}), mesh_file_limit(services.settings)
    async with receive_form(request, services.settings, files=parts, fields=fields, limit=limit) as form:
        stored = await run_sync(store_mesh, services, form, limiter=services.decoding)
    response.status_code = 201 if stored.is_new else 200
    mesh = to_mesh(stored.record)
    response.headers["Location"] = mesh.links.self
    return mesh


@router.get("", name="list_meshes", responses=problems(INVALID_CURSOR))
def get_meshes(
    request: Request,
    response: Response,
    services: ServicesDep,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Page[Mesh]:
    """List meshes, newest first."""
    page = list_meshes(services, PageRequest(limit, cursor, {}))
    link_next(request, response, page.next_cursor)
    return page


@router.get("/{mesh_id}", responses=problems(NOT_FOUND))
def get_mesh(mesh_id: str, services: ServicesDep) -> Mesh:
    """Describe a mesh."""
    return to_mesh(find_mesh(services, mesh_id))


@router.head("/{mesh_id}/content", include_in_schema=False)
@router.get(
    "/{mesh_id}/content",
    response_class=Response,
    responses=binary(GLB_MEDIA_TYPE) | problems(NOT_FOUND, RANGE_NOT_SATISFIABLE),
)
def get_mesh_content(mesh_id: str, services: ServicesDep) -> Response:
    """Return a mesh as it is stored; serves ranges, and 304 for `If-None-Match`."""
    record = find_mesh(services, mesh_id)
    return BlobResponse(
        services.blobs,
        record.blob_key,
        sha256=record.sha256,
        media_type=GLB_MEDIA_TYPE,
        filename=content_name(record.name),
        download=True,
    )
