import re

import pytest

from api_schemas.events import JobEvent
from api_schemas.jobs import Job, JobState
from client.event_stream import read_messages
from client.processes import EmbeddedService
from client.sdk import Congeal
from tests.client.bad_line import bad_line


def test_a_cut_stream_goes_on_where_it_broke(running: EmbeddedService, sdk: Congeal, finished: Job) -> None:
    whole = [event.seq for event in sdk.events(finished)]
    with bad_line(running.url) as line, Congeal(line.url) as congeal:
        line.cut_at = [b"id: 2\n", b"id: 4\n", b"id: 5\n"]
        pieces = [event.seq for event in congeal.events(finished)]
    assert pieces == whole
    # The event whose id came last before the cut had not come whole.
    resumed = [re.findall(rb"last-event-id: (\d+)", request.lower()) for request in line.requests]
    assert resumed == [[], [b"1"], [b"3"], [b"4"]]


def test_polling_takes_over_where_streams_are_blocked(running: EmbeddedService, finished: Job) -> None:
    events: list[JobEvent] = []
    with bad_line(running.url) as line, Congeal(line.url) as congeal:
        line.refuse = b"text/event-stream"
        job = congeal.wait(finished, timeout_s=30, on_event=events.append)
    assert job.state is JobState.SUCCEEDED
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    pages = [request for request in line.requests if b"accept: application/json" in request.lower()]
    assert pages


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_messages_are_read_whatever_the_chunks(size: int) -> None:
    stream = b': ping\n\nid: 7\r\nevent: job.log\r\ndata: {"a":\r\ndata:  1}\r\n\r\nevent: half'
    chunks = (stream[start : start + size] for start in range(0, len(stream), size))
    ping, message = list(read_messages(chunks))
    assert (ping.event, ping.data) == ("", [])
    assert (message.event, message.data) == ("job.log", ['{"a":', " 1}"])
