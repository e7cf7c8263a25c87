"""Addresses of questions to a finished job."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from alignment.storage_format import SAFETENSORS_MEDIA_TYPE
from api_schemas.pose_evaluations import PoseEvaluationRequest, PoseEvaluationResponse
from api_schemas.queries import (
    EvaluationRequest,
    EvaluationResponse,
    LiftRequest,
    LiftResponse,
    ProjectRequest,
    ProjectResponse,
    TransferRequest,
    TransferResponse,
)
from service.blob_response import IMMUTABLE, not_modified
from service.dependencies import ServicesDep
from service.http_headers import content_etag, matches_etag
from service.openapi import binary, problems
from service.problems import (
    CAPABILITY_MISSING,
    IMAGE_NOT_FOUND,
    JOB_NOT_FINISHED,
    MALFORMED_BODY,
    NOT_FOUND,
    RESULT_UNAVAILABLE,
    UNSUPPORTED_MEDIA_TYPE,
)
from service.queries.maps import pair_map
from service.queries.poses import evaluate_poses
from service.queries.service import evaluate, transfer
from service.queries.space import lift, project

router = APIRouter(prefix="/v1/jobs/{job_id}", tags=["queries"])

QUERY_PROBLEMS = (
    MALFORMED_BODY,
    UNSUPPORTED_MEDIA_TYPE,
    NOT_FOUND,
    JOB_NOT_FINISHED,
    RESULT_UNAVAILABLE,
    IMAGE_NOT_FOUND,
)


@router.post("/transfer", name="transfer_points", responses=problems(*QUERY_PROBLEMS, CAPABILITY_MISSING))
def post_transfer(job_id: str, body: TransferRequest, services: ServicesDep) -> TransferResponse:
    """Carry points of one image, or of the atlas, to other images; the order of the points is kept.

    For a result of form `shape` the atlas is the mesh's texture, [0, 1] x [0, 1], x right, y down.
    """
    return transfer(services, job_id, body)


@router.post("/lift", name="lift_points", responses=problems(*QUERY_PROBLEMS, CAPABILITY_MISSING))
def post_lift(job_id: str, body: LiftRequest, services: ServicesDep) -> LiftResponse:
    """Tell which places of the shape points of an image show; for results of form `shape`."""
    return lift(services, job_id, body)


@router.post("/project", name="project_points", responses=problems(*QUERY_PROBLEMS, CAPABILITY_MISSING))
def post_projection(job_id: str, body: ProjectRequest, services: ServicesDep) -> ProjectResponse:
    """Tell where images show places of the canonical frame, and whether they do; for results of form `shape`."""
    return project(services, job_id, body)


@router.post("/pose-evaluations", name="evaluate_poses", responses=problems(*QUERY_PROBLEMS, CAPABILITY_MISSING))
def post_pose_evaluation(job_id: str, body: PoseEvaluationRequest, services: ServicesDep) -> PoseEvaluationResponse:
    """Score the found poses with known cameras, after aligning both frames; for results of form `shape`."""
    return evaluate_poses(services, job_id, body)


@router.post("/evaluations", name="evaluate_result", responses=problems(*QUERY_PROBLEMS))
def post_evaluation(job_id: str, body: EvaluationRequest, services: ServicesDep) -> EvaluationResponse:
    """Score a result with known keypoints: percentage of correct keypoints over all ordered pairs of images."""
    return evaluate(services, job_id, body)


@router.get(
    "/maps/{source}/{target}",
    response_class=Response,
    responses=binary(SAFETENSORS_MEDIA_TYPE)
    | problems(NOT_FOUND, JOB_NOT_FINISHED, RESULT_UNAVAILABLE, CAPABILITY_MISSING),
)
def get_pair_map(
    job_id: str,
    source: Annotated[str, Path(description="Image id, or `atlas`: where the map starts.")],
    target: Annotated[str, Path(description="Image id, or `atlas`: where it arrives.")],
    request: Request,
    services: ServicesDep,
    max_side: Annotated[
        int | None, Query(ge=16, le=1024, description="Cells along the longer side; as stored when left out.")
    ] = None,
) -> Response:
    """Return the map from one frame to another as safetensors.

    `map` (H, W, 2) float32 covers the source with H x W equal cells and says for the centre of each where it lies in
    the target, NaN where nowhere: in pixels of an image, in [0, 1] on the atlas, which for a result of form `shape` is
    the mesh's texture. `confidence` (H, W) float16 is in [0, 1]. The map of a frame to itself is the identity.
    """
    content = pair_map(services, job_id, source, target, max_side)
    etag = content_etag(hashlib.sha256(content).hexdigest())
    if matches_etag(request.headers, etag):
        return not_modified(etag)
    headers = {
        "ETag": etag,
        "Cache-Control": IMMUTABLE,
        "Content-Disposition": 'attachment; filename="map.safetensors"',
    }
    return Response(content, media_type=SAFETENSORS_MEDIA_TYPE, headers=headers)
