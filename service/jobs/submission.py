"""Resolve what a submission asks for: the method, all parameters, the backbone."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from pydantic import JsonValue, ValidationError

from api_schemas.backbones import BACKBONES, WEIGHT_FREE_BACKBONE, BackboneChoice, BackboneName, completed
from api_schemas.jobs import JobOptions
from api_schemas.methods.registry import method_specs
from api_schemas.methods.spec import MethodParams, MethodSpec
from api_schemas.problems import FieldError
from api_schemas.weights import weights_catalogue
from service.methods.service import preferred_backbone
from service.problems import (
    IMAGE_SHAPE,
    INVALID_PARAMS,
    TOO_FEW_IMAGES,
    TOO_MANY_IMAGES,
    UNKNOWN_METHOD,
    WEIGHTS_MISSING,
    ProblemError,
    ProblemKind,
    json_pointer,
)
from service.validation import field_errors, shown, summary
from storage.database.records import ImageRecord

MIN_IMAGE_SIDE = 16
MAX_IMAGE_ASPECT = 16


@dataclass(frozen=True)
class ResolvedSubmission:
    """A submission with nothing left open."""

    options: JobOptions
    spec: MethodSpec
    params: dict[str, JsonValue]


def resolve(options: JobOptions, *, backbones: Sequence[str]) -> ResolvedSubmission:
    """Check a submission against its method and fill in all defaults.

    Args:
        options: what was submitted.
        backbones: those that workers have at hand.

    Raises:
        ProblemError: unknown method, parameters that do not fit it, or a backbone without weights.
    """
    spec = _method(options.method)
    params = _params(spec, options.params)
    backbone = _backbone(params.backbone, backbones)
    _refuse_misfits(params, backbone)
    # Filled in, so that the job shows what was read.
    features = completed(backbone, params.features)
    resolved = params.model_copy(update={"backbone": backbone, "features": features}).model_dump(mode="json")
    return ResolvedSubmission(options, spec, cast(dict[str, JsonValue], resolved))


def check_count(spec: MethodSpec, count: int, *, pointer: str) -> None:
    """Refuse image sets that are too small or too large for the method.

    Raises:
        ProblemError: too few or too many.
    """
    if count < spec.min_images:
        raise _wrong_count(TOO_FEW_IMAGES, pointer, f"{spec.id} needs at least {spec.min_images} images, got {count}")
    if count > spec.max_images:
        detail = f"{spec.id} takes at most {spec.max_images} images, got {count}; submit them in several sets"
        raise _wrong_count(TOO_MANY_IMAGES, pointer, detail)


def check_shapes(images: Sequence[ImageRecord], *, pointers: Sequence[str]) -> None:
    """Refuse images of which no feature can be told.

    Args:
        images: of the submission.
        pointers: to each of them in the request.

    Raises:
        ProblemError: a side is smaller than a patch, or far smaller than the other.
    """
    errors = [
        FieldError(pointer=pointer, code="image-shape", detail=fault)
        for image, pointer in zip(images, pointers, strict=True)
        if (fault := _shape_fault(image))
    ]
    if errors:
        raise ProblemError(IMAGE_SHAPE, summary(errors), errors=errors)


def _shape_fault(image: ImageRecord) -> str | None:
    short, long = sorted((image.width, image.height))
    is_what = f"image {image.id} is {image.width} x {image.height} pixels"
    if short < MIN_IMAGE_SIDE:
        return f"{is_what}; both sides must have at least {MIN_IMAGE_SIDE}"
    if long > MAX_IMAGE_ASPECT * short:
        return f"{is_what}; the longer side may be at most {MAX_IMAGE_ASPECT} times the shorter, crop it"
    return None


def _wrong_count(kind: ProblemKind, pointer: str, detail: str) -> ProblemError:
    return ProblemError(kind, detail, errors=[FieldError(pointer=pointer, code=kind.code, detail=detail)])


def _method(method_id: str) -> MethodSpec:
    specs = method_specs()
    if method_id in specs:
        return specs[method_id]
    close = get_close_matches(method_id, specs, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    detail = f"there is no method {shown(method_id)}; known are: {', '.join(specs)}{hint}"
    raise ProblemError(
        UNKNOWN_METHOD, detail, errors=[FieldError(pointer="/method", code="unknown-method", detail=detail)]
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
    if asked in present or asked == WEIGHT_FREE_BACKBONE:
        return asked
    at_hand = ", ".join(sorted({*present, WEIGHT_FREE_BACKBONE}))
    names = BACKBONES[asked].weights
    size = sum(weights_catalogue()[name].bytes for name in names)
    detail = (
        f"no worker has the weights of backbone {asked!r} ({size / 1e6:.0f} MB); at hand: {at_hand}. Take one of "
        f"these or 'auto', or run `congeal weights pull {' '.join(names)}` where a worker runs and restart it"
    )
    error = FieldError(pointer=json_pointer("params", "backbone"), code="weights-missing", detail=detail)
    raise ProblemError(WEIGHTS_MISSING, detail, errors=[error])


def _refuse_misfits(params: MethodParams, backbone: BackboneName) -> None:
    errors = [
        FieldError(pointer=json_pointer("params", *misfit.path), code="unfit-for-backbone", detail=misfit.detail)
        for misfit in params.misfits(backbone)
    ]
    if errors:
        raise ProblemError(INVALID_PARAMS, summary(errors), errors=errors)
