"""The networks that a submission computes with: which they are, and whether a worker has them."""

from collections.abc import Sequence
from difflib import get_close_matches

from api_schemas.backbones import BACKBONES, BUILT_IN_BACKBONES, BackboneChoice, BackboneName, completed
from api_schemas.methods.spec import FeatureParams, MethodParams, ModelParams
from api_schemas.problems import FieldError
from api_schemas.weights import diffusion_models, weights_catalogue
from service.jobs.refusals import refusal, refuse_any
from service.methods.service import preferred_backbone
from service.problems import INVALID_PARAMS, WEIGHTS_MISSING, json_pointer
from service.validation import shown
from storage.database.repositories.coordination import WorkerRepository

MODEL = json_pointer("params", "model")


def with_network(params: MethodParams, workers: WorkerRepository) -> MethodParams:
    """Resolve `auto` to the best backbone or diffusion model that a living worker has; other choices are checked.

    Raises:
        ProblemError: no worker has the weights, or there is no such model.
    """
    if isinstance(params, FeatureParams):
        return params.model_copy(update={"backbone": _backbone(params.backbone, workers.backbones())})
    if isinstance(params, ModelParams):
        return params.model_copy(update={"model": _model(params.model, workers.weights())})
    return params


def with_features(params: MethodParams) -> MethodParams:
    """Fill in what of the chosen backbone is read, so that the job shows it.

    Raises:
        ProblemError: parameters do not fit the backbone.
    """
    if not isinstance(params, FeatureParams):
        return params
    backbone = params.chosen_backbone
    errors = [
        FieldError(pointer=json_pointer("params", *misfit.path), code="unfit-for-backbone", detail=misfit.detail)
        for misfit in params.misfits(backbone)
    ]
    refuse_any(INVALID_PARAMS, errors)
    return params.model_copy(update={"features": completed(backbone, params.features)})


def refuse_missing_weights(params: MethodParams, workers: WorkerRepository) -> None:
    """Refuse parameters whose networks are chosen if they need further weights that no worker has.

    Raises:
        ProblemError: they do.
    """
    wanted = params.extra_weights()
    at_hand = workers.weights() if wanted else []
    missing = [name for name in wanted if name not in at_hand]
    if missing:
        names = ", ".join(map(repr, missing))
        detail = (
            f"no worker has the weights {names} ({_megabytes(missing)}), which these parameters need besides those "
            f"of the backbone. {params.instead_of_extra_weights}, or {_remedy(missing)}"
        )
        raise refusal(WEIGHTS_MISSING, detail, pointer=json_pointer("params"))


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


def _model(asked: str, present: Sequence[str]) -> str:
    known = diffusion_models()
    at_hand = [name for name in known if name in present]
    if asked == "auto":
        if at_hand:
            return at_hand[0]
        listed = ", ".join(f"{name!r} ({_megabytes([name])})" for name in known)
        detail = f"no worker has a diffusion model; there are {listed}. To bring one, {_remedy(known[:1])}"
        raise refusal(WEIGHTS_MISSING, detail, pointer=MODEL)
    if asked not in known:
        raise refusal(INVALID_PARAMS, _unknown_text(asked, known), pointer=MODEL, code="unknown-model")
    if asked not in at_hand:
        others = f"at hand: {', '.join(at_hand)}. Take one of these or 'auto'" if at_hand else "no other is at hand"
        detail = (
            f"no worker has the weights of model {asked!r} ({_megabytes([asked])}); {others}, or {_remedy([asked])}"
        )
        raise refusal(WEIGHTS_MISSING, detail, pointer=MODEL)
    return asked


def _unknown_text(asked: str, known: Sequence[str]) -> str:
    is_other = asked in weights_catalogue() or asked in BACKBONES
    what = f"{shown(asked)} is no diffusion model" if is_other else f"there is no diffusion model {shown(asked)}"
    close = get_close_matches(asked, known, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{what}; known are: {', '.join(known)}{hint}"


def _megabytes(weights: Sequence[str]) -> str:
    return f"{sum(weights_catalogue()[name].bytes for name in weights) / 1e6:.0f} MB"


def _remedy(weights: Sequence[str]) -> str:
    return f"run `congeal weights pull {' '.join(weights)}` where a worker runs and restart it"
