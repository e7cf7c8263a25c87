"""Short ways to refuse a submission."""

from collections.abc import Sequence

from api_schemas.problems import FieldError
from service.problems import ProblemError, ProblemKind
from service.validation import summary


def refusal(kind: ProblemKind, detail: str, *, pointer: str, code: str | None = None) -> ProblemError:
    """Return a refusal for one reason, which lies at `pointer` in the request; `code` is the kind's unless given."""
    return ProblemError(kind, detail, errors=[FieldError(pointer=pointer, code=code or kind.code, detail=detail)])


def refuse_any(kind: ProblemKind, errors: Sequence[FieldError], *, prefix: str = "") -> None:
    """Refuse if there are errors.

    Raises:
        ProblemError: there are; its detail begins with `prefix` and sums them up.
    """
    if errors:
        raise ProblemError(kind, prefix + summary(errors), errors=errors)
