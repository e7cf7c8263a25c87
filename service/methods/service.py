"""What methods there are and what they take."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from pydantic import JsonValue

from api_schemas.backbones import AUTO_PREFERENCE, BACKBONE_NAMES, BACKBONES, EMBEDDED_BACKBONE, BackboneName
from api_schemas.methods.registry import method_specs
from api_schemas.methods.spec import (
    BackboneStatus,
    FeatureParams,
    MethodDetail,
    MethodList,
    MethodSpec,
    MethodSummary,
    ModelParams,
    ModelStatus,
)
from api_schemas.weights import diffusion_models, weights_catalogue
from service.dependencies import Services
from service.problems import NOT_FOUND, ProblemError
from storage.database.repositories.coordination import WorkerRepository

JSON_SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True)
class PresentNetworks:
    """What living workers have at hand."""

    is_served: bool
    """Whether there is a worker at all."""
    backbones: list[str]
    models: list[str]
    """Diffusion models of the catalogue, in the order in which `auto` looks for them."""


def list_methods(services: Services) -> MethodList:
    """Describe all methods."""
    present = present_networks(services)
    return MethodList(items=[_summary(spec, present) for spec in method_specs().values()])


def describe_method(services: Services, method_id: str) -> MethodDetail:
    """Describe one method in full.

    Raises:
        ProblemError: there is none of that id.
    """
    spec = method_specs().get(method_id)
    if spec is None:
        known = ", ".join(method_specs())
        raise ProblemError(NOT_FOUND, f"there is no method {method_id[:64]!r}; known are: {known}")
    present = present_networks(services)
    return MethodDetail(
        **dict(_summary(spec, present)),
        known_backbones=[_status(name, present) for name in BACKBONE_NAMES] if _has_backbone(spec) else [],
        known_models=[_model_status(name, present) for name in diffusion_models()] if _has_model(spec) else [],
        params_schema={"$schema": JSON_SCHEMA_DIALECT, **spec.params.model_json_schema()},
        example=_example(spec),
    )


def present_networks(services: Services) -> PresentNetworks:
    """Return what living workers have at hand."""
    with services.database.transaction(read_only=True) as session:
        workers = WorkerRepository(session)
        backbones, weights = workers.backbones(), workers.weights()
        is_served = bool(workers.alive())
    return PresentNetworks(is_served, backbones, [name for name in diffusion_models() if name in weights])


def preferred_backbone(present: list[str]) -> BackboneName:
    """Resolve `auto`: the best backbone at hand; the embedded one always is."""
    return next((name for name in AUTO_PREFERENCE if name in present), EMBEDDED_BACKBONE)


def _has_backbone(spec: MethodSpec) -> bool:
    return issubclass(spec.params, FeatureParams)


def _has_model(spec: MethodSpec) -> bool:
    return issubclass(spec.params, ModelParams)


def _summary(spec: MethodSpec, present: PresentNetworks) -> MethodSummary:
    models = present.models if _has_model(spec) else []
    return MethodSummary(
        id=spec.id,
        title=spec.title,
        summary=spec.summary,
        paper=spec.paper,
        version=spec.version,
        form=spec.form,
        min_images=spec.min_images,
        max_images=spec.max_images,
        stages=[stage.name for stage in spec.stages],
        extendable=spec.extendable,
        annotations=spec.annotations,
        ready=present.is_served and (bool(models) or not _has_model(spec)),
        backbones=present.backbones if _has_backbone(spec) else [],
        models=models,
        links={"self": f"/v1/methods/{spec.id}", "jobs": "/v1/jobs"},
    )


def _status(name: BackboneName, present: PresentNetworks) -> BackboneStatus:
    info = BACKBONES[name]
    weights = [weights_catalogue()[entry] for entry in info.weights]
    return BackboneStatus(
        name=name,
        title=info.title,
        ready=name in present.backbones,
        weights=list(info.weights),
        weights_bytes=sum(entry.bytes for entry in weights),
        licenses=sorted({entry.license for entry in weights}),
        features=info.defaults,
    )


def _model_status(name: str, present: PresentNetworks) -> ModelStatus:
    entry = weights_catalogue()[name]
    return ModelStatus(
        name=name, ready=name in present.models, weights_bytes=entry.bytes, license=entry.license, hub=entry.hub
    )


def _example(spec: MethodSpec) -> dict[str, JsonValue]:
    image_ids = [f"img_01k8zd6c2q4x7v9m3n5p8r{index:04d}" for index in range(spec.min_images)]
    params = cast(dict[str, JsonValue], spec.params().model_dump(mode="json"))
    example: dict[str, JsonValue] = {"method": spec.id, "image_ids": [*image_ids], "params": params, "seed": 0}
    if spec.annotations == "required":
        example["annotations"] = _example_annotations(image_ids)
    return example


def _example_annotations(image_ids: Sequence[str]) -> dict[str, JsonValue]:
    keypoints: list[JsonValue] = [[4.5, 5.5, 2], [11.5, 5.5, 2], [8.0, 10.0, 2]]
    names: list[JsonValue] = ["left eye", "right eye", "nose"]
    images: dict[str, JsonValue] = {image_id: {"keypoints": keypoints} for image_id in image_ids}
    return {"categories": {"face": {"names": names}}, "images": images}
