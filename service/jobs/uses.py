"""Jobs whose results a submission's parameters name."""

from collections.abc import Mapping

from sqlalchemy.orm import Session

from api_schemas.jobs import JobState
from api_schemas.methods.registry import method_specs
from api_schemas.methods.spec import MethodParams, Use
from api_schemas.problems import FieldError
from service.jobs.refusals import refusal, refuse_any
from service.problems import INVALID_PARAMS, JOB_USED_NOT_FINISHED, JOB_USED_NOT_FOUND, json_pointer
from storage.database.repositories.jobs import JobRepository

Used = Mapping[tuple[str, ...], MethodParams]


def find_used(session: Session, params: MethodParams) -> Used:
    """Return the parameters of the jobs that `params` name, by where they name them.

    Raises:
        ProblemError: a job is not known, is of another method or version, or has no result.
    """
    return {use.path: _find(session, use) for use in params.uses()}


def check_used(params: MethodParams, used: Used) -> None:
    """Refuse complete parameters that do not fit the jobs they name.

    Raises:
        ProblemError: they do not.
    """
    misfits = [
        FieldError(pointer=json_pointer("params", *misfit.path), code="unfit-for-job", detail=misfit.detail)
        for misfit in params.use_misfits(used)
    ]
    refuse_any(INVALID_PARAMS, misfits)


def _find(session: Session, use: Use) -> MethodParams:
    pointer = json_pointer("params", *use.path)
    record = JobRepository(session).get(use.job_id)
    if record is None:
        detail = f"there is no job {use.job_id!r}; GET /v1/jobs?method={use.method} lists those there are"
        raise refusal(JOB_USED_NOT_FOUND, detail, pointer=pointer)
    spec = method_specs()[use.method]
    if record.method != use.method:
        detail = f"job {use.job_id} is of method {record.method!r}; name one of {use.method!r}"
        raise refusal(INVALID_PARAMS, detail, pointer=pointer)
    if record.method_version != spec.version:
        detail = f"job {use.job_id} was made by version {record.method_version} of {spec.id}; run it again"
        raise refusal(INVALID_PARAMS, detail, pointer=pointer)
    if record.state is not JobState.SUCCEEDED:
        hint = "take another" if record.state.is_terminal else "wait until it has succeeded"
        detail = f"job {use.job_id} is {record.state.value} and has no result; {hint}"
        raise refusal(JOB_USED_NOT_FINISHED, detail, pointer=pointer)
    return spec.params.model_validate(record.params)
