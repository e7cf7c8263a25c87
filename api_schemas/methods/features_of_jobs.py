"""Parameters that must describe images as another job did."""

from typing import TypeVar

from api_schemas.backbones import FeatureOptions
from api_schemas.methods.spec import FeatureParams, MethodParams, Misfit

P = TypeVar("P", bound=FeatureParams)


def with_features_of(params: P, job: MethodParams | None) -> P:
    """Take over the backbone and the feature options of a job where the parameters leave them open."""
    if not isinstance(job, FeatureParams):
        return params
    backbone = job.backbone if params.backbone == "auto" else params.backbone
    if backbone != job.backbone:
        return params
    options = {name: getattr(job.features, name) for name in FeatureOptions.model_fields}
    options |= {name: getattr(params.features, name) for name in params.features.given()}
    return params.model_copy(update={"backbone": backbone, "features": FeatureOptions(**options)})


def feature_misfits(params: FeatureParams, job: MethodParams | None, what: str) -> list[Misfit]:
    """Find what of complete parameters differs from a job's; `what` of it does not fit then."""
    if not isinstance(job, FeatureParams):
        return []
    if params.backbone != job.backbone:
        detail = f"{what} was made for backbone {job.backbone!r}, not for {params.backbone!r}; leave the backbone out"
        return [Misfit(("backbone",), detail)]
    return [
        Misfit(
            ("features", name),
            f"{what} was made for features with {name} {there!r}, not {here!r}; leave it out",
        )
        for name in FeatureOptions.model_fields
        if (here := getattr(params.features, name)) != (there := getattr(job.features, name))
    ]
