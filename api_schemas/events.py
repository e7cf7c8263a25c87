"""The event log of a job: one log feeds polling, long-polling and server-sent events."""

from enum import StrEnum

from pydantic import Field, JsonValue

from api_schemas.base import JobId, Schema, Timestamp


class EventType(StrEnum):
    """What can happen to a job."""

    QUEUED = "job.queued"
    STARTED = "job.started"
    STAGE = "job.stage"
    PROGRESS = "job.progress"
    LOG = "job.log"
    CHECKPOINT = "job.checkpoint"
    ATTEMPT_LOST = "job.attempt_lost"
    CANCEL_REQUESTED = "job.cancel_requested"
    SUCCEEDED = "job.succeeded"
    FAILED = "job.failed"
    CANCELED = "job.canceled"
    EXPIRED = "job.expired"


TERMINAL_EVENTS = frozenset({EventType.SUCCEEDED, EventType.FAILED, EventType.CANCELED, EventType.EXPIRED})


class JobEvent(Schema):
    """One entry of the log; `seq` counts from 1 without gaps within a job."""

    job_id: JobId
    seq: int = Field(ge=1)
    at: Timestamp
    type: EventType
    data: dict[str, JsonValue] = Field(default_factory=dict)


class EventPage(Schema):
    """Events in order; ask again with `?after=<last_seq>` for what came since."""

    items: list[JobEvent]
    last_seq: int = Field(ge=0)
    finished: bool = Field(description="True when the log holds its terminal event within or before this page.")
