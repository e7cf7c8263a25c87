"""RFC 9457 problem documents: the one shape of every answer that is not a success."""

from pydantic import Field

from api_schemas.base import Schema


class FieldError(Schema):
    """One fault in the request, and where it is."""

    pointer: str = Field(
        description="JSON Pointer (RFC 6901) to the faulty value, or the name of the part or parameter."
    )
    code: str = Field(description="Stable machine-readable name of the fault.")
    detail: str = Field(description="What is wrong and how to mend it.")


class Problem(Schema):
    """An `application/problem+json` document."""

    type: str = Field(description="Stable URI of this kind of problem.", examples=["/problems/job-not-finished"])
    title: str = Field(description="What this kind of problem is called.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What happened here: the value, the limit and the remedy.")
    instance: str = Field(description="Path of the request.")
    code: str = Field(description="The last part of `type`.")
    request_id: str = Field(description="Also in the X-Request-Id header and the service's log.")
    errors: list[FieldError] = Field(default_factory=list)
    retry_after_s: float | None = Field(default=None, description="Seconds after which another try makes sense.")
