"""Find the job that a submission extends, and hold the submission to it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import JsonValue
from sqlalchemy.orm import Session

from api_schemas.backbones import completed, faults
from api_schemas.jobs import JobState
from api_schemas.methods.spec import FeatureParams, MaskedParams, MethodParams, MethodSpec, ModelParams
from api_schemas.problems import FieldError
from service.jobs.refusals import refusal, refuse_any
from service.problems import BASE_MISMATCH, BASE_NOT_FINISHED, BASE_NOT_FOUND, NOT_EXTENDABLE, json_pointer
from service.validation import shown
from storage.database.records import ImageRecord, JobRecord
from storage.database.repositories.jobs import JobRepository

EXTENDS = json_pointer("extends")


@dataclass(frozen=True)
class Base:
    """A succeeded job to whose result images are added."""

    record: JobRecord
    params: MethodParams
    """Resolved, of the base and so of the job that extends it."""
    images: list[ImageRecord]


def find_base(session: Session, job_id: str, spec: MethodSpec) -> Base:
    """Return the job to be extended.

    Raises:
        ProblemError: it is not known, has no result, or is of another method or version, or of one that cannot be
            extended.
    """
    record = JobRepository(session).get(job_id)
    if record is None:
        raise refusal(
            BASE_NOT_FOUND, f"there is no job {job_id!r} to extend; GET /v1/jobs lists those there are", pointer=EXTENDS
        )
    if not spec.extendable:
        detail = f"{spec.id} cannot add images to a result; submit a job on all images"
        raise refusal(NOT_EXTENDABLE, detail, pointer=json_pointer("method"))
    if record.method != spec.id:
        detail = f"job {job_id} is of method {record.method!r}, not of {spec.id!r}; name its method"
        raise refusal(BASE_MISMATCH, detail, pointer=json_pointer("method"))
    if record.method_version != spec.version:
        detail = (
            f"job {job_id} was made by version {record.method_version} of {spec.id}, here is version {spec.version}; "
            "submit a job on all images"
        )
        raise refusal(BASE_MISMATCH, detail, pointer=EXTENDS)
    if record.state is not JobState.SUCCEEDED:
        hint = "submit a job on all images" if record.state.is_terminal else "wait until it has succeeded"
        detail = f"job {job_id} is {record.state.value}, so there is no result to extend; {hint}"
        raise refusal(BASE_NOT_FINISHED, detail, pointer=EXTENDS)
    return Base(record, spec.params.model_validate(record.params), JobRepository(session).images(job_id))


def check_demands(base: Base, params: MethodParams, given: Mapping[str, JsonValue], *, has_masks: bool) -> None:
    """Refuse what the base cannot be extended with.

    Args:
        base: whose parameters the job takes over.
        params: as they would be for a new job.
        given: those of them that the submission names.
        has_masks: whether masks come with the new images.

    Raises:
        ProblemError: a parameter is given and differs from the base's, or masks are given and it used none.
    """
    asked = _resolved_like(base, params).model_dump(mode="json")
    errors = [
        FieldError(
            pointer=json_pointer("params", *path),
            code="base-mismatch",
            detail=f"job {base.record.id} has {shown(there)}, got {shown(here)}; leave it out: the job takes over all",
        )
        for path, here, there in _differences(given, asked, base.record.params)
    ]
    if has_masks and not (isinstance(base.params, MaskedParams) and base.params.saliency == "user"):
        detail = f"job {base.record.id} was computed without masks, so its extension takes none; leave them out"
        errors.append(FieldError(pointer=json_pointer("masks"), code="base-mismatch", detail=detail))
    refuse_any(BASE_MISMATCH, errors)


def _resolved_like(base: Base, params: MethodParams) -> MethodParams:
    """Resolve what the parameters leave open as it was resolved for the base."""
    there = base.params
    changed: dict[str, object] = {}
    if isinstance(params, FeatureParams) and isinstance(there, FeatureParams):
        if params.backbone == "auto":
            changed["backbone"] = there.backbone
        if not faults(there.backbone, params.features):
            changed["features"] = completed(there.backbone, params.features)
    if isinstance(params, ModelParams) and isinstance(there, ModelParams) and params.model == "auto":
        changed["model"] = there.model
    if isinstance(params, MaskedParams) and isinstance(there, MaskedParams) and params.saliency == "auto":
        changed["saliency"] = there.saliency
    return params.model_copy(update=changed)


def _differences(
    given: Mapping[str, JsonValue], asked: Mapping[str, JsonValue], kept: Mapping[str, JsonValue]
) -> Iterator[tuple[tuple[str, ...], JsonValue, JsonValue]]:
    """Yield the path of each given value that differs, what was asked for and what the base has."""
    for name, value in given.items():
        here, there = asked[name], kept.get(name)
        if isinstance(value, Mapping) and isinstance(here, Mapping) and isinstance(there, Mapping):
            for path, inner_here, inner_there in _differences(value, here, there):
                yield (name, *path), inner_here, inner_there
        elif here != there:
            yield (name,), here, there
