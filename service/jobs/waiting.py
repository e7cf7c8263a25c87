"""Hold a request until a job has news, without holding a thread."""

import time
from collections.abc import Callable

import anyio
from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from service.dependencies import Services
from service.http_headers import matches_etag, preferred_wait_s
from service.jobs.presentation import job_etag
from service.jobs.service import find_job_record
from storage.database.records import JobRecord


async def wait_as_preferred(services: Services, request: Request, response: Response, job_id: str) -> bool:
    """Wait as long as `Prefer: wait` asks: until the job differs from If-None-Match, or without one, until it ends.

    Returns:
        Whether the client had asked to wait at all.

    Raises:
        ProblemError: there is no such job.
    """
    seconds = preferred_wait_s(request.headers, services.settings.max_wait_s)
    if seconds is None:
        return False
    await _poll(services, request, job_id, seconds=seconds, enough=_condition(request))
    response.headers["Preference-Applied"] = f"wait={seconds}"
    return True


def _condition(request: Request) -> Callable[[JobRecord], bool]:
    if "if-none-match" in request.headers:
        return lambda record: not matches_etag(request.headers, job_etag(record.revision))
    return lambda record: record.state.is_terminal


async def _poll(
    services: Services, request: Request, job_id: str, *, seconds: float, enough: Callable[[JobRecord], bool]
) -> None:
    deadline = time.monotonic() + seconds
    while not enough(await run_in_threadpool(find_job_record, services, job_id)):
        remaining = deadline - time.monotonic()
        if remaining <= 0 or services.closing.is_set() or await request.is_disconnected():
            return
        await anyio.sleep(min(services.settings.poll_interval_s, remaining))
