"""Turn pydantic's complaints into field errors that point at the request and name the value."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from api_schemas.problems import FieldError
from service.problems import json_pointer

MAX_SHOWN_VALUE = 80
Location = Sequence[str | int]


def field_errors(
    errors: Iterable[ErrorDetails], body: object, *, prefix: Location = (), model: type[BaseModel] | None = None
) -> list[FieldError]:
    """Describe faults found in a JSON body.

    Args:
        errors: as pydantic lists them, located from the root of `body`.
        body: the value that was validated; locations are cut to what exists in it, because pydantic also puts names
            of types into the locations of unions.
        prefix: where `body` itself lies in the request.
        model: what `body` was to be; names the fields that an unknown one might have meant.
    """
    merged: dict[str, FieldError] = {}
    for error in errors:
        location = _existing(error["loc"], body, keep_last=error["type"] == "missing")
        pointer = json_pointer(*prefix, *location)
        detail = _detail(error, _known_fields(model, location[:-1]) if model else [])
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


def _known_fields(model: type[BaseModel], path: Location) -> list[str]:
    """Name the fields of the model that lies at `path` within `model`; none where something else does."""
    for part in path:
        field = model.model_fields.get(str(part))
        kind = field.annotation if field else None
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)


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
