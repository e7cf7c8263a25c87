"""Read JSON that handlers receive by themselves."""

import json
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from service.problems import MALFORMED_BODY, VALIDATION_ERROR, ProblemError
from service.validation import field_errors, summary

Model = TypeVar("Model", bound=BaseModel)


def parse_json(raw: bytes, model: type[Model], *, pointer: tuple[str, ...] = ()) -> Model:
    """Read a model from JSON.

    Args:
        raw: the bytes.
        model: what they should describe.
        pointer: where the JSON lies in the request, for the messages.

    Raises:
        ProblemError: it is no JSON, or does not fit the model.
    """
    where = f"part {pointer[0]!r}" if pointer else "the body"
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ProblemError(MALFORMED_BODY, f"{where} is not JSON: {error}") from error
    try:
        return model.model_validate(body)
    except ValidationError as error:
        errors = field_errors(error.errors(), body, prefix=pointer)
        raise ProblemError(VALIDATION_ERROR, summary(errors), errors=errors) from error
