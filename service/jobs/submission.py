"""Resolve what a submission asks for: the method, all parameters, the backbone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from pydantic import JsonValue, ValidationError
from sqlalchemy.orm import Session

from api_schemas.annotations.model import Annotations
from api_schemas.backbones import BACKBONES, BUILT_IN_BACKBONES, BackboneChoice, BackboneName, completed
from api_schemas.jobs import JobOptions
from api_schemas.methods.registry import method_specs
from api_schemas.methods.spec import MethodParams, MethodSpec
from api_schemas.problems import FieldError
from api_schemas.weights import weights_catalogue
from service.jobs.annotations import complete_annotations
from service.jobs.extension import Base, check_demands, find_base
from service.jobs.masks import with_saliency
from service.jobs.refusals import refusal, refuse_any
from service.jobs.uses import check_used, find_used
from service.methods.service import preferred_backbone
from service.problems import INVALID_PARAMS, UNKNOWN_METHOD, WEIGHTS_MISSING, ProblemError, json_pointer
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
    def backbone(self) -> BackboneName:
        """What the backbone was resolved to."""
        return cast(BackboneName, self.params.backbone)

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
        ProblemError: unknown method, parameters that do not fit it, weights that no worker has, masks or annotations
            given and not used or the other way round, or a job that cannot be extended or used so.
    """
    spec = _method(options.method)
    base = find_base(session, options.extends, spec) if options.extends is not None else None
    params = _params(spec, options.params)
    workers = WorkerRepository(session)
    present = workers.backbones()
    if base is not None:
        check_demands(base, params, options.params, has_masks=has_masks)
        _backbone(base.backbone, present)
        params = base.params
    else:
        used = find_used(session, params)
        params = params.fitted_to(used)
        backbone = _backbone(params.backbone, present)
        params = with_saliency(spec, params, has_masks=has_masks)
        _refuse_misfits(params, backbone)
        # Filled in, so that the job shows what was read.
        features = completed(backbone, params.features)
        params = params.model_copy(update={"backbone": backbone, "features": features})
        check_used(params, used)
    _refuse_missing_weights(params, workers)
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


def _backbone(asked: BackboneChoice, present: Sequence[str]) -> BackboneName:
    if asked == "auto":
        return preferred_backbone(list(present))
    if asked in present or asked in BUILT_IN_BACKBONES:
        return asked
    at_hand = ", ".join(sorted({*present, *BUILT_IN_BACKBONES}))
    names = BACKBONES[asked].weights
    detail = (
        f"no worker has the weights of backbone {asked!r} ({_megabytes(names)}); at hand: {at_hand}. Take one of "
        f"these or 'auto', or {_remedy(names)}"
    )
    raise refusal(WEIGHTS_MISSING, detail, pointer=json_pointer("params", "backbone"))


def _refuse_missing_weights(params: MethodParams, workers: WorkerRepository) -> None:
    wanted = params.extra_weights()
    if not wanted:
        return
    at_hand = workers.weights()
    missing = [name for name in wanted if name not in at_hand]
    if missing:
        names = ", ".join(map(repr, missing))
        detail = (
            f"no worker has the weights {names} ({_megabytes(missing)}), which these parameters need besides those "
            f"of the backbone. Take other parameters, or {_remedy(missing)}"
        )
        raise refusal(WEIGHTS_MISSING, detail, pointer=json_pointer("params"))


def _megabytes(weights: Sequence[str]) -> str:
    return f"{sum(weights_catalogue()[name].bytes for name in weights) / 1e6:.0f} MB"


def _remedy(weights: Sequence[str]) -> str:
    return f"run `congeal weights pull {' '.join(weights)}` where a worker runs and restart it"


def _refuse_misfits(params: MethodParams, backbone: BackboneName) -> None:
    errors = [
        FieldError(pointer=json_pointer("params", *misfit.path), code="unfit-for-backbone", detail=misfit.detail)
        for misfit in params.misfits(backbone)
    ]
    refuse_any(INVALID_PARAMS, errors)
