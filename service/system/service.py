"""Whether the service can work, and what it is."""

import platform
from collections.abc import Callable
from importlib.metadata import version

from api_schemas.problems import FieldError
from api_schemas.system import Readiness, Version
from service.dependencies import Services
from service.problems import NOT_FOUND, NOT_READY, PROBLEM_KINDS, ProblemError, ProblemKind

API_VERSION = "v1"
PROBE_KEY = "probes/readiness"
RETRY_S = 5.0


def check_readiness(services: Services) -> Readiness:
    """Try every part that requests need.

    Raises:
        ProblemError: some do not work; each is named.
    """
    checks: dict[str, Callable[[], object]] = {
        "database": services.database.ping,
        "migrations": lambda: _require_migrated(services),
        "blobs": lambda: services.blobs.put(PROBE_KEY, b"ready"),
    }
    errors = [error for name, check in checks.items() if (error := _failure(name, check)) is not None]
    if errors:
        detail = "; ".join(f"{error.pointer}: {error.detail}" for error in errors)
        raise ProblemError(NOT_READY, detail, errors=errors, retry_after_s=RETRY_S)
    return Readiness(checks=list(checks))


def describe_version() -> Version:
    """Return the versions of code, interface and interpreter."""
    return Version(congeal=version("congeal"), api=API_VERSION, python=platform.python_version())


def find_problem_kind(code: str) -> ProblemKind:
    """Return a kind of problem.

    Raises:
        ProblemError: there is none of that code.
    """
    if code not in PROBLEM_KINDS:
        raise ProblemError(
            NOT_FOUND, f"there is no kind of problem {code[:64]!r}; known are: {', '.join(PROBLEM_KINDS)}"
        )
    return PROBLEM_KINDS[code]


def _failure(name: str, check: Callable[[], object]) -> FieldError | None:
    try:
        check()
    except Exception as error:
        # Whatever the part raises: not to be ready is the finding.
        return FieldError(pointer=name, code="failed", detail=str(error).splitlines()[0][:300])
    return None


def _require_migrated(services: Services) -> None:
    if not services.database.is_migrated():
        raise RuntimeError("the schema is not the newest; start with CONGEAL_MIGRATE_ON_START=1 or migrate it")
