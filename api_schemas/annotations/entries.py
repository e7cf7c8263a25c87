"""Entries of other people's files, read one by one, so that a fault names the entry that it is in."""

from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError


class Entry(BaseModel):
    """Part of a file in another format; fields that matter to nobody here are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)


E = TypeVar("E", bound=Entry)


def read_entry(model: type[E], given: object, where: str) -> E:
    """Read one entry.

    Raises:
        ValueError: it is not of that form; names the first fault and its place, beginning with `where`.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise ValueError(fault_text(error, where)) from error


def fault_text(error: ValidationError, where: str) -> str:
    """Say in one line what the first fault is and where."""
    fault = error.errors(include_url=False, include_context=False)[0]
    place = "/".join(str(part) for part in (where, *fault["loc"]) if part != "")
    return f"{place}: {fault['msg'].removeprefix('Value error, ')}"
