"""Everything that can go wrong between a client and the service, in one exception tree."""

from api_schemas.jobs import Job
from api_schemas.problems import Problem


class CongealError(Exception):
    """Base of all errors that the SDK raises on purpose."""


class ServiceUnreachableError(CongealError):
    """No answer came from the service."""

    def __init__(self, base_url: str, reason: str) -> None:
        super().__init__(
            f"no answer from the Congeal service at {base_url}: {reason}. "
            "Start one with `congeal up`, or give the right address with --url or CONGEAL_URL."
        )
        self.base_url = base_url


class ProblemError(CongealError):
    """The service answered with a problem document (RFC 9457)."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(self._message())

    def _message(self) -> str:
        problem = self.problem
        lines = [f"{problem.title} ({problem.status} {problem.code}): {problem.detail}"]
        for error in problem.errors:
            lines.append(
                f"  {error.pointer}" if error.detail in problem.detail else f"  {error.pointer}: {error.detail}"
            )
        if problem.retry_after_s is not None:
            lines.append(f"  try again in {problem.retry_after_s:g} s")
        lines.append(f"  at {problem.instance}, request {problem.request_id or 'without id'}")
        return "\n".join(lines)


class UnexpectedAnswerError(CongealError):
    """Something answered that does not speak like a Congeal service of this version."""


class WaitTimeoutError(CongealError):
    """The job had not finished when the caller's patience ended; it goes on."""

    def __init__(self, job_id: str, timeout_s: float) -> None:
        super().__init__(
            f"{job_id} has not finished within {timeout_s:g} s; it goes on. "
            f"Wait again with `congeal wait {job_id}` or stop it with `congeal cancel {job_id}`."
        )
        self.job_id = job_id


class DamagedDownloadError(CongealError):
    """An artifact's bytes do not have the checksum that the manifest states."""

    def __init__(self, name: str, *, expected: str, received: str) -> None:
        super().__init__(
            f"artifact {name!r} arrived with SHA-256 {received}, the manifest says {expected}; "
            "nothing was written. Fetch again; if it happens again, the stored file is damaged."
        )
        self.name = name


class EmbeddedServiceError(CongealError):
    """The service or the worker that this process started did not come up, or ended."""


class JobUnsuccessfulError(CongealError):
    """The job ended, but without a result."""

    def __init__(self, job: Job) -> None:
        self.job = job
        reason = f": {job.error.title}: {job.error.detail}" if job.error else ""
        super().__init__(f"{job.id} {job.state.value}{reason}")
