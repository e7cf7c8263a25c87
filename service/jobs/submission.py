"""Resolve what a submission asks for: the method, all parameters, the networks."""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from pydantic import JsonValue, ValidationError
from sqlalchemy.orm import Session

from api_schemas.annotations.model import Annotations
from api_schemas.jobs import JobOptions
from api_schemas.methods.registry import method_specs
from api_schemas.methods.spec import MethodParams, MethodSpec
from api_schemas.problems import FieldError
from service.jobs.annotations import complete_annotations
from service.jobs.extension import Base, check_demands, find_base
from service.jobs.masks import with_saliency
from service.jobs.meshes import check_meshes
from service.jobs.networks import refuse_missing_weights, with_features, with_network
from service.jobs.refusals import refusal
from service.jobs.uses import check_used, find_used
from service.problems import INVALID_PARAMS, UNKNOWN_METHOD, ProblemError, json_pointer
from service.validation import field_errors, shown, summary
from storage.database.repositories.coordination import WorkerRepository


@dataclass(frozen=True)
class ResolvedSubmission:
    """A submission with nothing left open."""

    options: JobOptions
    spec: MethodSpec
    params: MethodParams
    base: Base | None
    """The job to be extended."""
    annotations: Annotations | None
    """Complete; their entries are named as submitted."""

    @property
    def shown_params(self) -> dict[str, JsonValue]:
        """All parameters as the job keeps and shows them."""
        return cast(dict[str, JsonValue], self.params.model_dump(mode="json"))


def resolve(session: Session, options: JobOptions, *, has_masks: bool) -> ResolvedSubmission:
    """Check a submission against its method, and the job that it extends, and fill in all defaults.

    Args:
        session: to look up that job, and what workers have at hand.
        options: what was submitted.
        has_masks: whether masks come with the images.

    Raises:
        ProblemError: unknown method, parameters that do not fit it, weights that no worker has, a mesh that is not
            there, masks or annotations given and not used or the other way round, or a job that cannot be extended or
            used so.
    """
    spec = _method(options.method)
    base = find_base(session, options.extends, spec) if options.extends is not None else None
    params = _params(spec, options.params)
    workers = WorkerRepository(session)
    if base is not None:
        check_demands(base, params, options.params, has_masks=has_masks)
        params = with_network(base.params, workers)
    else:
        used = find_used(session, params)
        params = with_network(params.fitted_to(used), workers)
        params = with_features(with_saliency(spec, params, has_masks=has_masks))
        check_used(params, used)
    refuse_missing_weights(params, workers)
    check_meshes(session, params)
    annotations = complete_annotations(spec, params, options.annotations, extends=base is not None)
    return ResolvedSubmission(options, spec, params, base, annotations)


def _method(method_id: str) -> MethodSpec:
    specs = method_specs()
    if method_id in specs:
        return specs[method_id]
    close = get_close_matches(method_id, specs, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise refusal(
        UNKNOWN_METHOD, f"there is no method {shown(method_id)}; known are: {', '.join(specs)}{hint}", pointer="/method"
    )


def _params(spec: MethodSpec, given: dict[str, JsonValue]) -> MethodParams:
    errors = _not_finite(given)
    if not errors:
        try:
            # Strict, so that "256" or true do not pass for a number.
            return spec.params.model_validate_json(json.dumps(given), strict=True)
        except ValidationError as error:
            errors = field_errors(error.errors(), given, prefix=("params",), model=spec.params)
    raise ProblemError(INVALID_PARAMS, f"{spec.id}: {summary(errors)}", errors=errors)


def _not_finite(given: dict[str, JsonValue]) -> list[FieldError]:
    """Find parameters that hold NaN or infinity, which Python reads from JSON but JSON has no word for."""
    errors = []
    for name, value in given.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            detail = f"numbers must be finite; got {shown(value)}"
            errors.append(FieldError(pointer=json_pointer("params", name), code="finite-number", detail=detail))
    return errors
