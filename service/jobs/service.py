"""Create, find, list and cancel jobs."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy.orm import Session

from api_schemas.annotations.model import Annotations
from api_schemas.base import ULID_PATTERN
from api_schemas.jobs import Job, JobCreate, JobOptions, JobState, JobValidation
from api_schemas.pagination import Page
from service.dependencies import Services
from service.idempotency import IdempotentRequest, Replay
from service.identifiers import looks_like
from service.jobs.annotations import placed_annotations
from service.jobs.costs import work_tflop
from service.jobs.images import ChosenImages, check_count, choose_images
from service.jobs.masks import check_masks
from service.jobs.presentation import show_job
from service.jobs.submission import ResolvedSubmission, resolve
from service.pagination import PageRequest, cut_page
from service.problems import NOT_FOUND, ProblemError
from storage.blobs.keys import job_prefix
from storage.database.records import JobRecord, NewJob, utc_now
from storage.database.repositories.images import ImageSetRepository
from storage.database.repositories.jobs import JobRepository

JOB_ID = rf"job_{ULID_PATTERN}"
DEFAULT_LANE: Final = "default"


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list."""

    state: JobState | None = None
    method: str | None = None
    image_set_id: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return the filter in the form that a cursor remembers."""
        return {"state": self.state, "method": self.method, "image_set_id": self.image_set_id}


def create_job(
    services: Services, body: JobCreate, idempotency_key: str | None, *, blank_masks: Collection[str]
) -> Replay | Job:
    """Queue a job and wake a worker, or return what the same request made before.

    Args:
        services: the parts of the service.
        body: the submission.
        idempotency_key: of the request.
        blank_masks: those of its masks that mark nothing.

    Raises:
        ProblemError: the submission is not accepted; see `resolve`, `choose_images` and `check_masks`.
    """
    request = IdempotentRequest.of(idempotency_key, "POST /v1/jobs", body.model_dump(mode="json"))
    with services.database.transaction() as session:
        if request and (replay := request.reserve(session)):
            return replay
        resolved, chosen, annotations = _accept(services, session, body, blank_masks)
        image_set_id = chosen.image_set_id or _make_set(session, body, chosen)
        stored = None if annotations is None else annotations.model_dump(mode="json")
        record = JobRepository(session).add(_new_job(services, resolved, image_set_id, body.masks), annotations=stored)
        job = show_job(session, record)
        if request:
            request.complete(session, Replay(202, job.model_dump(mode="json"), job.links.self))
    services.wake_ups.send(record.lane)
    return job


def validate_job(services: Services, body: JobCreate, *, blank_masks: Collection[str]) -> JobValidation:
    """Check a submission without creating anything.

    Raises:
        ProblemError: it would not be accepted.
    """
    with services.database.transaction(read_only=True) as session:
        resolved, chosen, annotations = _accept(services, session, body, blank_masks)
    return JobValidation(
        method=resolved.spec.id,
        method_version=resolved.spec.version,
        params=resolved.shown_params,
        images=len(chosen.all),
        work_tflop=work_tflop(resolved, len(chosen.all)),
        annotations=annotations,
    )


def check_options(services: Services, options: JobOptions, *, images: int, has_masks: bool, pointer: str) -> None:
    """Refuse a submission early, before its images are decoded.

    Raises:
        ProblemError: it would not be accepted.
    """
    with services.database.transaction(read_only=True) as session:
        resolved = resolve(session, options, has_masks=has_masks)
    check_count(resolved, images, pointer=pointer, settings=services.settings)


def find_job_record(services: Services, job_id: str) -> JobRecord:
    """Return a job's row.

    Raises:
        ProblemError: there is none of that id.
    """
    with services.database.transaction(read_only=True) as session:
        return get_job_record(session, job_id)


def get_job_record(session: Session, job_id: str) -> JobRecord:
    """Return a job's row within a transaction.

    Raises:
        ProblemError: there is none of that id.
    """
    record = JobRepository(session).get(job_id) if looks_like(job_id, JOB_ID) else None
    if record is None:
        raise ProblemError(NOT_FOUND, f"there is no job {job_id[:64]!r}; GET /v1/jobs lists those there are")
    return record


def find_job(services: Services, job_id: str) -> Job:
    """Return a job.

    Raises:
        ProblemError: there is none of that id.
    """
    with services.database.transaction(read_only=True) as session:
        return show_job(session, get_job_record(session, job_id))


def find_annotations(services: Services, job_id: str) -> Annotations:
    """Return what a job was told of its images.

    Raises:
        ProblemError: there is no such job, or it was told nothing.
    """
    with services.database.transaction(read_only=True) as session:
        get_job_record(session, job_id)
        kept = JobRepository(session).annotations(job_id)
    if kept is None:
        raise ProblemError(NOT_FOUND, f"job {job_id} has no annotations")
    return Annotations.model_validate(kept)


def list_jobs(services: Services, page: PageRequest, wanted: JobFilter) -> Page[Job]:
    """Return a page of jobs."""
    with services.database.transaction(read_only=True) as session:
        records = JobRepository(session).page(
            page.limit + 1,
            page.before,
            state=wanted.state,
            method=wanted.method,
            image_set_id=wanted.image_set_id,
        )
        return cut_page(records, page, lambda record: show_job(session, record))


def cancel_job(services: Services, job_id: str, reason: str | None) -> Job:
    """Stop a job: at once when it is queued, soon when it runs; one that has ended stays as it is.

    Raises:
        ProblemError: there is none of that id.
    """
    with services.database.transaction() as session:
        get_job_record(session, job_id)
        record = JobRepository(session).request_cancel(job_id, reason)
        job = show_job(session, record or get_job_record(session, job_id))
    if job.state is JobState.CANCELED:
        # A job that waited for another attempt leaves the checkpoints of the last one.
        services.blobs.delete_prefix(job_prefix(job_id))
    return job


def _accept(
    services: Services, session: Session, body: JobCreate, blank_masks: Collection[str]
) -> tuple[ResolvedSubmission, ChosenImages, Annotations | None]:
    """Check everything about a submission; the annotations come back by the ids of the images."""
    resolved = resolve(session, body, has_masks=body.masks is not None)
    chosen = choose_images(session, body, resolved, settings=services.settings)
    if body.masks is not None:
        check_masks(session, body.masks, chosen.new, blank=blank_masks)
    annotations = resolved.annotations
    return resolved, chosen, None if annotations is None else placed_annotations(annotations, chosen.all)


def _make_set(session: Session, body: JobCreate, chosen: ChosenImages) -> str:
    return ImageSetRepository(session).add(body.name, [image.id for image in chosen.all]).id


def _new_job(
    services: Services, resolved: ResolvedSubmission, image_set_id: str, masks: dict[str, str] | None
) -> NewJob:
    options = resolved.options
    return NewJob(
        method=resolved.spec.id,
        method_version=resolved.spec.version,
        lane=DEFAULT_LANE,
        image_set_id=image_set_id,
        params=resolved.shown_params,
        seed=options.seed,
        priority=options.priority,
        name=options.name,
        labels=dict(options.labels),
        deadline_at=utc_now() + timedelta(seconds=options.deadline_s),
        max_attempts=services.settings.max_attempts,
        masks=masks,
        extends=options.extends,
        uses={".".join(use.path): use.job_id for use in resolved.params.uses()} or None,
        meshes={".".join(use.path): use.mesh_id for use in resolved.params.meshes()} or None,
    )
