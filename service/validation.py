"""Turn pydantic's complaints into field errors that point at the request and name the value."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from api_schemas.problems import FieldError
from service.problems import json_pointer

MAX_SHOWN_VALUE = 80
Location = Sequence[str | int]


def field_errors(
    errors: Iterable[ErrorDetails], body: object, *, prefix: Location = (), known: Iterable[str] = ()
) -> list[FieldError]:
    """Describe faults found in a JSON body.

    Args:
        errors: as pydantic lists them, located from the root of `body`.
        body: the value that was validated; locations are cut to what exists in it, because pydantic also puts names
            of types into the locations of unions.
        prefix: where `body` itself lies in the request.
        known: names that unknown fields at the root might have meant.
    """
    merged: dict[str, FieldError] = {}
    for error in errors:
        location = _existing(error["loc"], body, keep_last=error["type"] == "missing")
        pointer = json_pointer(*prefix, *location)
        detail = _detail(error, list(known) if len(location) == 1 else [])
        if before := merged.get(pointer):
            detail = f"{before.detail}; or: {detail}"
        merged[pointer] = FieldError(pointer=pointer, code=_code(error), detail=detail)
    return list(merged.values())


def parameter_errors(errors: Iterable[ErrorDetails]) -> list[FieldError]:
    """Describe faults in query, path and header parameters, which are pointed at by name."""
    return [FieldError(pointer=str(error["loc"][-1]), code=_code(error), detail=_detail(error, [])) for error in errors]


def summary(errors: Sequence[FieldError]) -> str:
    """Say in one sentence what is wrong."""
    first = f"{errors[0].pointer or 'the body'}: {errors[0].detail}"
    return first if len(errors) == 1 else f"{first} (and {len(errors) - 1} more, see errors)"


def shown(value: object) -> str:
    """Write a value for a message, cut to a bearable length."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_VALUE else text[: MAX_SHOWN_VALUE - 1] + "…"


def _existing(location: Location, body: object, *, keep_last: bool) -> list[str | int]:
    path: list[str | int] = []
    value: Any = body
    for part in location:
        is_key = isinstance(value, Mapping) and part in value
        if not is_key and not (isinstance(value, list) and isinstance(part, int) and part < len(value)):
            break
        value = value[part]
        path.append(part)
    if keep_last and location and len(path) < len(location):
        path.append(location[-1])
    return path


def _code(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown-field"
    return error["type"].replace("_", "-")


def _detail(error: ErrorDetails, known: list[str]) -> str:
    if error["type"] == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), known)
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("missing", "value_error"):
        return message
    return f"{message}; got {shown(error['input'])}"


def _unknown(name: str, known: list[str]) -> str:
    if not known:
        return f"there is no field {shown(name)}; remove it"
    close = get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"there is no {shown(name)}; known are: {', '.join(known)}{hint}"
