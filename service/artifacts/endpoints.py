"""Addresses of results."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api_schemas.manifest import Manifest
from service.artifacts.service import find_artifact, find_manifest
from service.blob_response import IMMUTABLE, BlobResponse, not_modified
from service.dependencies import ServicesDep
from service.http_headers import content_etag, matches_etag
from service.openapi import binary, problems
from service.problems import JOB_NOT_FINISHED, NOT_FOUND, RANGE_NOT_SATISFIABLE, RESULT_UNAVAILABLE
from storage.blobs.keys import artifact_key

router = APIRouter(prefix="/v1/jobs/{job_id}/artifacts", tags=["artifacts"])


@router.get(
    "",
    name="get_manifest",
    response_model=Manifest,
    responses=problems(NOT_FOUND, JOB_NOT_FINISHED, RESULT_UNAVAILABLE),
)
def get_artifacts(job_id: str, request: Request, services: ServicesDep) -> Response:
    """Return the manifest: every artifact with what it holds, how to read it and where to fetch it."""
    content = find_manifest(services, job_id).model_dump_json(by_alias=True).encode()
    etag = content_etag(hashlib.sha256(content).hexdigest())
    if matches_etag(request.headers, etag):
        return not_modified(etag)
    return Response(content, media_type="application/json", headers={"ETag": etag, "Cache-Control": IMMUTABLE})


@router.head("/{name:path}", include_in_schema=False)
@router.get(
    "/{name:path}",
    response_class=Response,
    responses=binary("application/octet-stream")
    | problems(NOT_FOUND, JOB_NOT_FINISHED, RESULT_UNAVAILABLE, RANGE_NOT_SATISFIABLE),
)
def get_artifact(
    job_id: str,
    name: str,
    services: ServicesDep,
    download: Annotated[bool, Query(description="Send it as a download instead of showing it.")] = False,
) -> Response:
    """Return the bytes of an artifact; serves ranges, and 304 for `If-None-Match`."""
    record, artifact = find_artifact(services, job_id, name)
    return BlobResponse(
        services.blobs,
        artifact_key(job_id, record.fence, artifact.name),
        sha256=artifact.sha256,
        media_type=artifact.media_type,
        filename=artifact.name.replace("/", "_"),
        download=download,
    )
