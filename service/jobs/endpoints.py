"""Addresses of jobs."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import EventSourceResponse

from api_schemas.annotations.model import Annotations
from api_schemas.base import ImageSetId
from api_schemas.events import EventPage
from api_schemas.jobs import CancelRequest, Job, JobCreate, JobState, JobValidation
from api_schemas.pagination import Page
from service.dependencies import ServicesDep
from service.http_headers import matches_etag
from service.idempotency import IdempotencyKeyHeader, Replay, replayed
from service.jobs.events import PAGE_EVENTS, read_events, stream_events
from service.jobs.masks import blank_masks
from service.jobs.presentation import job_etag, retry_after_s
from service.jobs.requests import receive_submission
from service.jobs.service import (
    JobFilter,
    cancel_job,
    create_job,
    find_annotations,
    find_job,
    list_jobs,
    validate_job,
)
from service.jobs.waiting import wait_as_preferred
from service.openapi import job_submission, problems
from service.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, PageRequest, link_next
from service.problems import (
    ANNOTATIONS_MISMATCH,
    BASE_MISMATCH,
    BASE_NOT_FINISHED,
    BASE_NOT_FOUND,
    BODY_TOO_LARGE,
    IDEMPOTENCY_IN_PROGRESS,
    IDEMPOTENCY_KEY_REUSED,
    IMAGE_NOT_FOUND,
    IMAGE_SET_NOT_FOUND,
    IMAGE_SHAPE,
    IMAGE_TOO_LARGE,
    IMAGE_TRUNCATED,
    INSUFFICIENT_STORAGE,
    INVALID_CURSOR,
    INVALID_PARAMS,
    JOB_USED_NOT_FINISHED,
    JOB_USED_NOT_FOUND,
    MALFORMED_BODY,
    MASK_EMPTY,
    MASK_SIZE,
    MASKS_MISMATCH,
    MASKS_NOT_TAKEN,
    MESH_NOT_FOUND,
    NOT_AN_IMAGE,
    NOT_EXTENDABLE,
    NOT_FOUND,
    REPEATED_IMAGE,
    TOO_FEW_IMAGES,
    TOO_MANY_IMAGES,
    TOO_MUCH_MEMORY,
    TOO_MUCH_WORK,
    UNKNOWN_METHOD,
    UNSUPPORTED_MEDIA_TYPE,
    WEIGHTS_MISSING,
)

router = APIRouter(prefix="/v1", tags=["jobs"])

MAX_SEQ = 2**31 - 1
PreferHeader = Annotated[
    str | None,
    Header(description="`wait=N`: hold the answer for up to N seconds (at most 60) until there is something new."),
]
IfNoneMatchHeader = Annotated[str | None, Header(description="ETag of the job as the client knows it.")]
SUBMISSION_PROBLEMS = (
    MALFORMED_BODY,
    UNSUPPORTED_MEDIA_TYPE,
    UNKNOWN_METHOD,
    INVALID_PARAMS,
    WEIGHTS_MISSING,
    IMAGE_NOT_FOUND,
    IMAGE_SET_NOT_FOUND,
    IMAGE_SHAPE,
    REPEATED_IMAGE,
    TOO_FEW_IMAGES,
    TOO_MANY_IMAGES,
    TOO_MUCH_MEMORY,
    TOO_MUCH_WORK,
    MASKS_NOT_TAKEN,
    MASKS_MISMATCH,
    MASK_SIZE,
    MASK_EMPTY,
    BASE_NOT_FOUND,
    BASE_NOT_FINISHED,
    BASE_MISMATCH,
    NOT_EXTENDABLE,
    ANNOTATIONS_MISMATCH,
    JOB_USED_NOT_FOUND,
    JOB_USED_NOT_FINISHED,
    MESH_NOT_FOUND,
)
ONE_SHOT_PROBLEMS = (BODY_TOO_LARGE, IMAGE_TOO_LARGE, IMAGE_TRUNCATED, NOT_AN_IMAGE, INSUFFICIENT_STORAGE)


@router.post(
    "/jobs",
    status_code=202,
    name="create_job",
    response_model=Job,
    responses={
        200: {"model": Job, "description": "The job ended while the client preferred to wait."},
        **problems(*SUBMISSION_PROBLEMS, *ONE_SHOT_PROBLEMS, IDEMPOTENCY_IN_PROGRESS, IDEMPOTENCY_KEY_REUSED),
    },
    openapi_extra=job_submission(),
)
async def post_job(
    request: Request,
    response: Response,
    services: ServicesDep,
    idempotency_key: IdempotencyKeyHeader = None,
    prefer: PreferHeader = None,
) -> Response | Job:
    """Submit a job, on uploaded images as JSON, or with its images in one multipart request.

    The multipart form has a part `spec` (JSON), the files in parts named `images`, in order, and their masks, if any,
    in as many parts named `masks`.
    """
    body = await receive_submission(services, request)
    blank = await run_sync(blank_masks, services, body.masks, limiter=services.decoding)
    result = await run_in_threadpool(create_job, services, body, idempotency_key, blank_masks=blank)
    if isinstance(result, Replay) and (prefer is None or result.location is None):
        return replayed(result)
    address = result.location or "" if isinstance(result, Replay) else result.links.self
    job_id = address.rsplit("/", 1)[-1]
    await wait_as_preferred(services, request, response, job_id)
    job = await run_in_threadpool(find_job, services, job_id)
    response.status_code = 200 if job.state.is_terminal else 202
    response.headers["Location"] = address
    _describe(response, job)
    return job


@router.post("/jobs:validate", name="validate_job", responses=problems(*SUBMISSION_PROBLEMS))
async def post_job_validation(body: JobCreate, services: ServicesDep) -> JobValidation:
    """Check a submission and resolve its parameters without creating a job."""
    blank = await run_sync(blank_masks, services, body.masks, limiter=services.decoding)
    return await run_in_threadpool(validate_job, services, body, blank_masks=blank)


@router.get("/jobs", name="list_jobs", responses=problems(INVALID_CURSOR))
def get_jobs(
    request: Request,
    response: Response,
    services: ServicesDep,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
    state: Annotated[JobState | None, Query(description="Only jobs in this state.")] = None,
    method: Annotated[str | None, Query(pattern=r"^[a-z0-9_]{1,64}$", description="Only jobs of this method.")] = None,
    image_set_id: Annotated[ImageSetId | None, Query(description="Only jobs on this image set.")] = None,
) -> Page[Job]:
    """List jobs, newest first."""
    wanted = JobFilter(state, method, image_set_id)
    page = list_jobs(services, PageRequest(limit, cursor, wanted.as_dict()), wanted)
    link_next(request, response, page.next_cursor)
    return page


@router.get(
    "/jobs/{job_id}",
    response_model=Job,
    responses={304: {"description": "Nothing has changed."}, **problems(NOT_FOUND)},
)
async def get_job(
    job_id: str,
    request: Request,
    response: Response,
    services: ServicesDep,
    prefer: PreferHeader = None,
    if_none_match: IfNoneMatchHeader = None,
) -> Response | Job:
    """Describe a job. With `Prefer: wait` the answer comes when the job has changed, or without ETag, ended."""
    del prefer, if_none_match  # read from the request, together
    await wait_as_preferred(services, request, response, job_id)
    job = await run_in_threadpool(find_job, services, job_id)
    _describe(response, job)
    if matches_etag(request.headers, job_etag(job.revision)):
        return Response(status_code=304, headers=dict(response.headers))
    return job


@router.get("/jobs/{job_id}/annotations", responses=problems(NOT_FOUND))
def get_annotations(job_id: str, services: ServicesDep) -> Annotations:
    """Return what the job was told of its images, by their ids, with everything that was told from names filled in."""
    return find_annotations(services, job_id)


@router.post(
    "/jobs/{job_id}/cancel",
    status_code=202,
    name="cancel_job",
    response_model=Job,
    responses={200: {"model": Job, "description": "The job has ended."}, **problems(NOT_FOUND, MALFORMED_BODY)},
)
def post_cancellation(job_id: str, response: Response, services: ServicesDep, body: CancelRequest | None = None) -> Job:
    """Ask a job to stop. Asking again, or when it has ended, does no harm."""
    job = cancel_job(services, job_id, body.reason if body else None)
    response.status_code = 200 if job.state.is_terminal else 202
    _describe(response, job)
    return job


@router.get(
    "/jobs/{job_id}/events",
    response_model=EventPage,
    responses={
        200: {"description": "Events; JSON when `Accept` says so.", "content": {"text/event-stream": {}}},
        204: {"description": "The log has ended and the client has all of it."},
        **problems(NOT_FOUND),
    },
)
def get_job_events(
    job_id: str,
    services: ServicesDep,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[int | None, Header(ge=0, le=MAX_SEQ, description="Last event received.")] = None,
    after: Annotated[int, Query(ge=0, le=MAX_SEQ, description="Only events with a larger `seq`.")] = 0,
    limit: Annotated[int, Query(ge=1, le=PAGE_EVENTS, description="Events on a JSON page.")] = PAGE_EVENTS,
) -> Response | EventPage:
    """Follow a job: server-sent events, or with `Accept: application/json`, pages of the same events."""
    start = after if last_event_id is None else last_event_id
    page = read_events(services, job_id, after=start, limit=limit)
    if "application/json" in accept and "text/event-stream" not in accept:
        return page
    if page.finished and not page.items:
        return Response(status_code=204)
    return EventSourceResponse(
        stream_events(services, job_id, after=start), headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )


def _describe(response: Response, job: Job) -> None:
    """Add what a client needs to ask again: the ETag, and when to do so."""
    response.headers["ETag"] = job_etag(job.revision)
    response.headers["Cache-Control"] = "private, no-cache"
    if not job.state.is_terminal:
        response.headers["Retry-After"] = str(retry_after_s(job.created_at))
