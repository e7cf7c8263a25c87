"""What a refusal reads like."""

from api_schemas.problems import FieldError, Problem
from client.errors import ProblemError


def refusal(detail: str, *errors: tuple[str, str]) -> str:
    listed = [FieldError(pointer=pointer, code="wrong", detail=text) for pointer, text in errors]
    problem = Problem(
        type="/problems/invalid-request",
        title="Invalid",
        status=422,
        detail=detail,
        instance="/v1/jobs",
        code="invalid-request",
        request_id="r1",
        errors=listed,
    )
    return str(ProblemError(problem))


def test_every_fault_is_told_with_its_place() -> None:
    told = refusal("2 faults", ("/params/cells", "at least 12"), ("/params/warp", "true or false"))
    assert told.splitlines() == [
        "Invalid (422 invalid-request): 2 faults",
        "  /params/cells: at least 12",
        "  /params/warp: true or false",
        "  at /v1/jobs, request r1",
    ]


def test_a_fault_that_the_summary_tells_is_not_told_twice() -> None:
    told = refusal("no mesh msh_1: upload one", ("/params/shape/mesh", "no mesh msh_1: upload one"))
    assert told.count("upload one") == 1
    assert "  /params/shape/mesh\n" in told
