"""Follow the event log of a job: server-sent events while they work, polling where they do not."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
from pydantic import ValidationError

from api_schemas.events import TERMINAL_EVENTS, EventPage, EventType, JobEvent
from client.errors import UnexpectedAnswerError
from client.transport import Transport, is_worth_repeating, parse, pause_s, raise_for_problem

# The service sends a comment at least every 15 s; a longer silence is a dead connection.
SILENCE_S = 40.0
POLL_S = 1.0
MAX_BARREN_STREAMS = 4
KNOWN_TYPES = frozenset(kind.value for kind in EventType)


@dataclass
class Message:
    """One server-sent event on its way in."""

    event: str = ""
    data: list[str] = field(default_factory=list)

    def take(self, line: str) -> None:
        """Add a line of the stream (WHATWG HTML, section 9.2.6)."""
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self.event = value
        elif name == "data":
            self.data.append(value)


class EventLog:
    """The events of one job after `after`, in order, each once, up to the terminal one."""

    def __init__(self, transport: Transport, path: str, *, after: int = 0, deadline: float | None = None) -> None:
        self._transport = transport
        self._path = path
        self._seq = after
        self._deadline = deadline
        self._alive = False
        self.finished = False

    def __iter__(self) -> Iterator[JobEvent]:
        """Yield events as they happen; reconnects with Last-Event-ID, and polls when no stream can be had.

        Stops at the terminal event, or silently at the deadline (then `finished` is False).

        Raises:
            ProblemError: the service does not know the job.
            ServiceUnreachableError: the service has been gone for several tries.
        """
        barren = 0
        while not self.finished and not self._is_late():
            before, self._alive = self._seq, False
            try:
                yield from self._stream()
            except httpx.TransportError:
                pass
            except UnexpectedAnswerError:
                barren = MAX_BARREN_STREAMS
            barren = 0 if self._alive else barren + 1
            if barren >= MAX_BARREN_STREAMS:
                yield from self._poll()
            elif self._seq == before:
                self._sleep(pause_s(barren + 1))

    def _stream(self) -> Iterator[JobEvent]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if self._seq:
            headers["Last-Event-ID"] = str(self._seq)
        timeout = httpx.Timeout(10.0, read=self._patience_s())
        with self._transport.http.stream("GET", self._path, headers=headers, timeout=timeout) as response:
            if response.status_code == 204:
                self.finished = True
                return
            self._expect_stream(response)
            opened = time.monotonic()
            for message in read_messages(response.iter_bytes()):
                self._alive = True
                yield from self._accept(message)
                if self.finished or self._outlasts_deadline(opened):
                    return

    def _expect_stream(self, response: httpx.Response) -> None:
        if is_worth_repeating(response):
            raise httpx.ReadError(f"{self._path} answered {response.status_code}")
        raise_for_problem(response)
        if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            raise UnexpectedAnswerError(f"{self._path} is no event stream")

    def _accept(self, message: Message) -> Iterator[JobEvent]:
        """Yield the event of a message unless it is old, or of a kind that this client does not know."""
        if message.event not in KNOWN_TYPES:
            return
        try:
            event = JobEvent.model_validate_json("\n".join(message.data), extra="ignore")
        except ValidationError as error:
            raise UnexpectedAnswerError(f"{self._path} sent an event that is none: {error}") from error
        yield from self._advance(event)

    def _advance(self, event: JobEvent) -> Iterator[JobEvent]:
        if event.seq <= self._seq:
            return
        self._seq = event.seq
        self.finished = event.type in TERMINAL_EVENTS
        yield event

    def _poll(self) -> Iterator[JobEvent]:
        """Ask for pages of the same log until it ends."""
        while not self.finished and not self._is_late():
            page = self._page()
            for event in page.items:
                yield from self._advance(event)
            if not page.items:
                self.finished = page.finished
                self._sleep(POLL_S)

    def _page(self) -> EventPage:
        headers = {"Accept": "application/json"}
        url = httpx.URL(self._path, params={"after": self._seq})
        response = self._transport.send(lambda: self._transport.http.get(url, headers=headers))
        return parse(response, EventPage)

    def _outlasts_deadline(self, opened: float) -> bool:
        """Tell whether to connect anew: every message renews the read timeout, only a new request shortens it."""
        return time.monotonic() - opened > 1.0 and self._patience_s() < SILENCE_S

    def _patience_s(self) -> float:
        if self._deadline is None:
            return SILENCE_S
        return max(0.1, min(SILENCE_S, self._deadline - time.monotonic()))

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() >= self._deadline

    def _sleep(self, seconds: float) -> None:
        if self._deadline is not None:
            seconds = min(seconds, max(0.0, self._deadline - time.monotonic()))
        time.sleep(seconds)


def read_messages(chunks: Iterator[bytes]) -> Iterator[Message]:
    """Split a byte stream into server-sent events; an incomplete tail is left out.

    Comments, which keep the connection alive, come as empty messages.
    """
    buffer = b""
    message = Message()
    for chunk in chunks:
        *lines, buffer = (buffer + chunk).split(b"\n")
        for line in lines:
            text = line.rstrip(b"\r").decode("utf-8", errors="replace")
            if text:
                message.take(text)
                continue
            yield message
            message = Message()
