"""What the service says about itself."""

from typing import Literal

from pydantic import Field

from api_schemas.base import Schema


class Entry(Schema):
    """Where everything is."""

    name: str
    version: str
    links: dict[str, str]


class Liveness(Schema):
    """The process serves requests."""

    status: Literal["alive"] = "alive"


class Readiness(Schema):
    """All parts that requests need work."""

    status: Literal["ready"] = "ready"
    checks: list[str] = Field(description="What was tried.")


class Version(Schema):
    """What runs here."""

    congeal: str
    api: str
    python: str


class ProblemDescription(Schema):
    """A kind of problem."""

    type: str
    title: str
    status: int
