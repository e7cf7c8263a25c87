"""Find what a succeeded job has made."""

import re

from api_schemas.jobs import JobState
from api_schemas.manifest import ARTIFACT_NAME, Artifact, Manifest
from service.dependencies import Services
from service.jobs.presentation import retry_after_s
from service.jobs.service import find_job_record
from service.problems import JOB_NOT_FINISHED, NOT_FOUND, RESULT_UNAVAILABLE, ProblemError
from storage.database.records import JobRecord
from storage.database.repositories.jobs import JobRepository

ARTIFACT_NAME_LENGTH = 120


def find_succeeded_job(services: Services, job_id: str) -> JobRecord:
    """Return the row of a job that has a result.

    Raises:
        ProblemError: no such job, not finished, or finished without a result.
    """
    record = find_job_record(services, job_id)
    if not record.state.is_terminal:
        detail = f"the job is {record.state.value}; ask again later, or send Prefer: wait with GET /v1/jobs/{job_id}"
        raise ProblemError(JOB_NOT_FINISHED, detail, retry_after_s=retry_after_s(record.created_at))
    if record.manifest_key is None:
        raise ProblemError(RESULT_UNAVAILABLE, f"the job {_ending(record)}; it has no result and never will")
    return record


def find_manifest(services: Services, job_id: str) -> Manifest:
    """Return the manifest of a result, with the address of each artifact.

    Raises:
        ProblemError: see `find_succeeded_job`.
    """
    record = find_succeeded_job(services, job_id)
    manifest = services.open_results.manifest(record)
    artifacts = [
        artifact.model_copy(update={"href": f"/v1/jobs/{job_id}/artifacts/{artifact.name}"})
        for artifact in manifest.artifacts
    ]
    return manifest.model_copy(update={"artifacts": artifacts})


def find_artifact(services: Services, job_id: str, name: str) -> tuple[JobRecord, Artifact]:
    """Return an artifact and the job that made it.

    Raises:
        ProblemError: see `find_succeeded_job`; or the job has no such artifact.
    """
    record = find_succeeded_job(services, job_id)
    if len(name) <= ARTIFACT_NAME_LENGTH and re.search(ARTIFACT_NAME, name):
        with services.database.transaction(read_only=True) as session:
            artifact = JobRepository(session).artifact(job_id, name)
        if artifact is not None:
            return record, artifact
    detail = f"the job has no artifact {name[:ARTIFACT_NAME_LENGTH]!r}; GET /v1/jobs/{job_id}/artifacts lists them"
    raise ProblemError(NOT_FOUND, detail)


def _ending(record: JobRecord) -> str:
    if record.error is not None:
        return f"failed ({record.error.get('code')}: {record.error.get('detail')})"
    return "was canceled" if record.state is JobState.CANCELED else "expired before it was started"
