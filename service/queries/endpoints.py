"""Addresses of questions to a finished job."""

from fastapi import APIRouter

from api_schemas.queries import EvaluationRequest, EvaluationResponse, TransferRequest, TransferResponse
from service.dependencies import ServicesDep
from service.openapi import problems
from service.problems import (
    CAPABILITY_MISSING,
    IMAGE_NOT_FOUND,
    JOB_NOT_FINISHED,
    MALFORMED_BODY,
    NOT_FOUND,
    RESULT_UNAVAILABLE,
    UNSUPPORTED_MEDIA_TYPE,
)
from service.queries.service import evaluate, transfer

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
    """Carry points of one image, or of the atlas, to other images; the order of the points is kept."""
    return transfer(services, job_id, body)


@router.post("/evaluations", name="evaluate_result", responses=problems(*QUERY_PROBLEMS))
def post_evaluation(job_id: str, body: EvaluationRequest, services: ServicesDep) -> EvaluationResponse:
    """Score a result with known keypoints: percentage of correct keypoints over all ordered pairs of images."""
    return evaluate(services, job_id, body)
