"""How a job looks to the client."""

from datetime import datetime

from sqlalchemy.orm import Session

from api_schemas.jobs import Job, JobError, JobImage, JobInputs, JobLinks, Progress, Queue
from storage.database.records import ImageRecord, JobRecord, utc_now
from storage.database.repositories.jobs import JobRepository

# Age in seconds up to which a client should ask again after so many seconds.
RETRY_AFTER_BY_AGE_S = ((60, 2), (600, 5))
LONGEST_RETRY_AFTER_S = 10


def job_etag(revision: int) -> str:
    """Return the ETag of a job.

    It is weak: the place in the queue moves with other jobs and does not count as a change of this one.
    """
    return f'W/"r{revision}"'


def retry_after_s(created_at: datetime) -> int:
    """Return the seconds after which to ask again for a job that has not ended."""
    age_s = (utc_now() - created_at).total_seconds()
    return next((pause for limit, pause in RETRY_AFTER_BY_AGE_S if age_s < limit), LONGEST_RETRY_AFTER_S)


def show_job(session: Session, record: JobRecord) -> Job:
    """Show a job with its images and its place in the queue."""
    repository = JobRepository(session)
    position = repository.queue_position(record)
    return Job(
        id=record.id,
        method=record.method,
        method_version=record.method_version,
        state=record.state,
        stage=record.stage,
        progress=_progress(record),
        queue=None if position is None else Queue(lane=record.lane, position=position),
        attempt=record.attempt,
        max_attempts=record.max_attempts,
        params=record.params,
        inputs=_inputs(record, repository.images(record.id)),
        seed=record.seed,
        priority=record.priority,
        name=record.name,
        labels=record.labels,
        created_at=record.created_at,
        started_at=record.started_at,
        heartbeat_at=record.heartbeat_at,
        finished_at=record.finished_at,
        deadline_at=record.deadline_at,
        cancel_requested_at=record.cancel_requested_at,
        error=None if record.error is None else JobError.model_validate(record.error),
        metrics=record.metrics,
        self_check=record.self_check,
        revision=record.revision,
        links=_links(record.id),
    )


def _progress(record: JobRecord) -> Progress | None:
    if record.progress_fraction is None:
        return None
    return Progress(
        fraction=min(1.0, max(0.0, record.progress_fraction)),
        step=record.progress_step or 0,
        total=record.progress_total or 0,
        metrics=record.progress_metrics,
    )


def _inputs(record: JobRecord, images: list[ImageRecord]) -> JobInputs:
    masks = record.masks or {}
    return JobInputs(
        image_set_id=record.image_set_id,
        extends=record.extends,
        images=[
            JobImage(
                index=index,
                id=image.id,
                sha256=image.sha256,
                name=image.name,
                width=image.width,
                height=image.height,
                mask_id=masks.get(image.id),
            )
            for index, image in enumerate(images)
        ],
    )


def _links(job_id: str) -> JobLinks:
    address = f"/v1/jobs/{job_id}"
    return JobLinks(
        self=address,
        cancel=f"{address}/cancel",
        events=f"{address}/events",
        artifacts=f"{address}/artifacts",
        transfer=f"{address}/transfer",
        evaluations=f"{address}/evaluations",
        lift=f"{address}/lift",
        project=f"{address}/project",
        pose_evaluations=f"{address}/pose-evaluations",
        edits=f"{address}/edits",
        annotations=f"{address}/annotations",
    )
