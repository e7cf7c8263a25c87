"""Map everything that the framework or the storage raises to problem documents."""

from typing import cast

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service.problems import (
    BAD_REQUEST,
    BODY_TOO_LARGE,
    INSUFFICIENT_STORAGE,
    INTERNAL_ERROR,
    MALFORMED_BODY,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    NOT_READY,
    UNSUPPORTED_MEDIA_TYPE,
    VALIDATION_ERROR,
    ProblemError,
    ProblemKind,
    problem_response,
)
from service.validation import field_errors, parameter_errors, summary
from storage.errors import StorageFullError, StorageUnavailableError

KINDS_BY_STATUS: dict[int, ProblemKind] = {
    kind.status: kind
    for kind in (MALFORMED_BODY, NOT_FOUND, METHOD_NOT_ALLOWED, BODY_TOO_LARGE, UNSUPPORTED_MEDIA_TYPE, INTERNAL_ERROR)
}
NO_LONGER_THERE = 499
BUSY_RETRY_S = 2.0


def add_problem_handlers(app: FastAPI) -> None:
    """Make every refusal of the app a problem document."""
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(StorageFullError, _on_storage_full)
    app.add_exception_handler(StorageUnavailableError, _on_storage_unavailable)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    if isinstance(error, ProblemError):
        return problem_response(request, error)
    refused = cast(HTTPException, error)
    kind = KINDS_BY_STATUS.get(refused.status_code, BAD_REQUEST)
    detail = _framework_detail(request, kind, refused)
    return problem_response(request, ProblemError(kind, detail, headers=refused.headers))


def _framework_detail(request: Request, kind: ProblemKind, error: HTTPException) -> str:
    if kind is NOT_FOUND:
        return f"there is nothing at {request.url.path}; /openapi.json lists all addresses"
    if kind is METHOD_NOT_ALLOWED:
        return f"{request.method} is not known at {request.url.path}; use {(error.headers or {}).get('Allow', 'GET')}"
    return error.detail


async def _on_invalid_request(request: Request, error: Exception) -> Response:
    invalid = cast(RequestValidationError, error)
    faults = cast(list[ErrorDetails], invalid.errors())
    return problem_response(request, invalid_request(request, faults, invalid.body))


def invalid_request(request: Request, faults: list[ErrorDetails], body: object) -> ProblemError:
    """Name the problem of a request that the framework could not parse."""
    if any(fault["type"] == "json_invalid" for fault in faults):
        fault = faults[0]
        reason = fault.get("ctx", {}).get("error", fault["msg"])
        return ProblemError(MALFORMED_BODY, f"the body is not JSON: {reason} at character {fault['loc'][-1]}")
    in_body = [{**fault, "loc": fault["loc"][1:]} for fault in faults if fault["loc"][0] == "body"]
    if isinstance(body, bytes) and in_body:
        given = request.headers.get("content-type", "none")
        return ProblemError(UNSUPPORTED_MEDIA_TYPE, f"the body must be application/json; its Content-Type is {given}")
    elsewhere = [fault for fault in faults if fault["loc"][0] != "body"]
    errors = field_errors(cast(list[ErrorDetails], in_body), body) + parameter_errors(elsewhere)
    return ProblemError(VALIDATION_ERROR, summary(errors), errors=errors)


async def _on_storage_full(request: Request, error: Exception) -> Response:
    del error
    detail = "the service's disk or quota is full and nothing was stored; free space or tell its operator"
    return problem_response(request, ProblemError(INSUFFICIENT_STORAGE, detail))


async def _on_storage_unavailable(request: Request, error: Exception) -> Response:
    detail = f"the storage does not answer: {error}"
    return problem_response(request, ProblemError(NOT_READY, detail, retry_after_s=BUSY_RETRY_S))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """Answer nobody: the client has gone in the middle of its request."""
    del request, error
    return Response(status_code=NO_LONGER_THERE)
