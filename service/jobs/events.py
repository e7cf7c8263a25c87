"""The event log of a job, in pages and as a stream of server-sent events."""

import time
from collections.abc import AsyncIterator

import anyio
from fastapi.concurrency import run_in_threadpool
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from api_schemas.events import TERMINAL_EVENTS, EventPage, JobEvent
from service.dependencies import Services
from service.jobs.service import find_job, get_job_record
from storage.database.repositories.jobs import JobRepository

PAGE_EVENTS = 200
STREAM_EVENTS = 1000
RECONNECT_MS = 3000
SNAPSHOT = "job.snapshot"


def read_events(services: Services, job_id: str, *, after: int, limit: int = PAGE_EVENTS) -> EventPage:
    """Return what happened after event `after`.

    Raises:
        ProblemError: there is no such job.
    """
    with services.database.transaction(read_only=True) as session:
        record = get_job_record(session, job_id)
        items = JobRepository(session).events(job_id, after=after, limit=limit)
    last_seq = items[-1].seq if items else after
    return EventPage(items=items, last_seq=last_seq, finished=record.state.is_terminal and last_seq >= record.last_seq)


async def stream_events(services: Services, job_id: str, *, after: int) -> AsyncIterator[bytes]:
    """Yield the job as it stands, then every event after `after`, up to the one that ends it.

    While nothing happens a comment goes out from time to time, so that proxies keep the connection.
    """
    job = await run_in_threadpool(find_job, services, job_id)
    yield format_sse_event(data_str=job.model_dump_json(), event=SNAPSHOT, retry=RECONNECT_MS)
    silent_since = time.monotonic()
    while not services.closing.is_set():
        for event in await run_in_threadpool(_news, services, job_id, after):
            yield _message(event)
            if event.type in TERMINAL_EVENTS:
                return
            after, silent_since = event.seq, time.monotonic()
        if time.monotonic() - silent_since >= services.settings.ping_interval_s:
            yield KEEPALIVE_COMMENT
            silent_since = time.monotonic()
        await anyio.sleep(services.settings.poll_interval_s)


def _news(services: Services, job_id: str, after: int) -> list[JobEvent]:
    with services.database.transaction(read_only=True) as session:
        jobs = JobRepository(session)
        # Mostly nothing has happened, and to learn that costs little.
        return jobs.events(job_id, after=after, limit=STREAM_EVENTS) if jobs.last_seq(job_id) > after else []


def _message(event: JobEvent) -> bytes:
    return format_sse_event(data_str=event.model_dump_json(), event=event.type, id=str(event.seq))
