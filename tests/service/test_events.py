"""Follow a job by its event log, in pages and as a stream behind a real socket."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import event

from service.dependencies import Services
from storage.database.repositories.jobs import JobRepository
from tests.service.conftest import Live
from tests.service.requests import pointers, problem, submit, uploaded_ids
from tests.service.results import claim, fail


@dataclass(frozen=True)
class Message:
    """A server-sent event or, without a name, a comment."""

    event: str
    data: Any
    id: str | None


def messages(lines: Iterator[str]) -> Iterator[Message]:
    """Read a stream."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
            continue
        yield Message(fields.get("event", ""), json.loads(fields.get("data", "null")), fields.get("id"))
        fields = {}


@pytest.fixture
def http(live: Live) -> httpx.Client:
    return live.client


@pytest.fixture
def services(live: Live) -> Services:
    return live.services


@pytest.fixture
def job(http: httpx.Client) -> Iterator[dict[str, Any]]:
    """A queued job; nothing else is in the queue."""
    submitted = submit(http, uploaded_ids(http, 2))
    yield submitted
    http.post(submitted["links"]["cancel"])


def work(services: Services, *, steps: int) -> None:
    """Claim the job, report some progress and fail: 2 + `steps` events."""
    record = claim(services)
    for step in range(steps):
        with services.database.transaction() as session:
            JobRepository(session).set_progress(record.id, record.fence, step / steps, step, steps, {})
    fail(services, record)


def test_a_stream_tells_everything_up_to_the_end(http: httpx.Client, services: Services, job: dict[str, Any]) -> None:
    seen: list[Message] = []
    with http.stream("GET", job["links"]["events"]) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-store"
        worker = threading.Thread(target=work, args=(services,), kwargs={"steps": 3})
        for message in messages(stream.iter_lines()):
            if message.event == "job.queued":
                worker.start()
            if message.event:
                seen.append(message)
    worker.join()
    assert seen[0].event == "job.snapshot"
    assert seen[0].data["id"] == job["id"]
    assert seen[0].id is None
    names = ["job.queued", "job.started", *["job.progress"] * 3, "job.failed"]
    assert [message.event for message in seen[1:]] == names
    assert [message.id for message in seen[1:]] == [str(seq) for seq in range(1, 7)]
    assert [message.data["seq"] for message in seen[1:]] == list(range(1, 7))
    assert {message.data["job_id"] for message in seen[1:]} == {job["id"]}


def test_a_stream_that_breaks_off_anywhere_goes_on_without_gap(
    http: httpx.Client, services: Services, job: dict[str, Any]
) -> None:
    work(services, steps=4)
    last_id, received = "0", []
    for _ in range(20):
        with http.stream("GET", job["links"]["events"], headers={"Last-Event-ID": last_id}) as stream:
            if stream.status_code == 204:
                break
            for message in messages(stream.iter_lines()):
                if message.id:
                    last_id = message.id
                    received.append(int(last_id))
                    break
    assert received == list(range(1, 8))


def test_after_the_end_there_is_nothing_to_reconnect_to(
    http: httpx.Client, services: Services, job: dict[str, Any]
) -> None:
    work(services, steps=0)
    address = job["links"]["events"]
    assert http.get(address, headers={"Last-Event-ID": "3"}).status_code == 204
    assert http.get(address, params={"after": 3}).status_code == 204
    assert http.get(address, params={"after": 1}, headers={"Last-Event-ID": "3"}).status_code == 204


def test_a_quiet_stream_sends_comments(http: httpx.Client, job: dict[str, Any]) -> None:
    comments = 0
    with http.stream("GET", job["links"]["events"], params={"after": 1}) as stream:
        for message in messages(stream.iter_lines()):
            comments += not message.event
            if comments == 2:
                break
    assert comments == 2


def test_a_client_that_leaves_ends_its_stream(http: httpx.Client, services: Services, job: dict[str, Any]) -> None:
    questions = 0

    def count(*_: object) -> None:
        nonlocal questions
        questions += 1

    event.listen(services.database.engine, "before_cursor_execute", count)
    try:
        with http.stream("GET", job["links"]["events"]) as stream:
            lines = stream.iter_lines()  # once it is forgotten, the connection is closed
            next(lines)
            assert questions_within(0.5, lambda: questions) > 0
        # Whoever still streamed would go on asking the database for news.
        deadline = time.monotonic() + 10
        while questions_within(0.3, lambda: questions):
            assert time.monotonic() < deadline
    finally:
        event.remove(services.database.engine, "before_cursor_execute", count)


def questions_within(seconds: float, asked: Callable[[], int]) -> int:
    before = asked()
    time.sleep(seconds)
    return asked() - before


def test_pages_of_the_same_events(http: httpx.Client, services: Services, job: dict[str, Any]) -> None:
    address, wants_json = job["links"]["events"], {"Accept": "application/json"}
    first = http.get(address, headers=wants_json).json()
    assert (first["last_seq"], first["finished"]) == (1, False)
    empty = http.get(address, params={"after": 1}, headers=wants_json).json()
    assert empty == {"items": [], "last_seq": 1, "finished": False}
    work(services, steps=3)
    page = http.get(address, params={"after": 1, "limit": 2}, headers=wants_json).json()
    assert [item["seq"] for item in page["items"]] == [2, 3]
    assert (page["last_seq"], page["finished"]) == (3, False)
    rest = http.get(address, params={"after": 3}, headers=wants_json).json()
    assert [item["type"] for item in rest["items"]] == ["job.progress", "job.progress", "job.failed"]
    assert (rest["last_seq"], rest["finished"]) == (6, True)
    beyond = http.get(address, params={"after": 6}, headers=wants_json).json()
    assert beyond == {"items": [], "last_seq": 6, "finished": True}


@pytest.mark.parametrize(
    ("params", "headers", "pointer"),
    [
        ({"after": "-1"}, {}, "after"),
        ({"after": str(2**70)}, {}, "after"),
        ({"limit": "201"}, {}, "limit"),
        ({}, {"Last-Event-ID": "abc"}, "last-event-id"),
    ],
)
def test_places_in_the_log_that_do_not_fit(
    http: httpx.Client, job: dict[str, Any], params: dict[str, str], headers: dict[str, str], pointer: str
) -> None:
    answer = http.get(job["links"]["events"], params=params, headers=headers)
    assert pointers(problem(answer, "validation-error", 422)) == [pointer]
