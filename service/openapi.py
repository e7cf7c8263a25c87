"""What the OpenAPI document says beyond what the framework finds out by itself."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from api_schemas.jobs import JobCreate, JobOptions
from api_schemas.problems import Problem
from service.problems import INTERNAL_ERROR, PROBLEM_MEDIA_TYPE, VALIDATION_ERROR, ProblemKind
from service.uploads import FILES_PART, MASKS_PART

Document = dict[str, Any]
REFERENCE = "#/components/schemas/{model}"
PROBLEM_CONTENT: Document = {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
FILES: Document = {
    "type": "array",
    "items": {"type": "string", "format": "binary"},
    "description": "JPEG, PNG or WebP files; their order is kept, their names are labels only.",
}
# Bodies that handlers read themselves, so that the framework does not see their models.
UNSEEN_MODELS = (Problem, JobCreate, JobOptions)


def operation_id(route: APIRoute) -> str:
    """Name an operation as its handler is called."""
    return route.name


def problems(*kinds: ProblemKind) -> dict[int | str, Document]:
    """Document refusals, grouped by status; validation errors and faults of the service are added."""
    by_status: dict[int | str, list[ProblemKind]] = {}
    for kind in (*kinds, VALIDATION_ERROR, INTERNAL_ERROR):
        by_status.setdefault(kind.status, []).append(kind)
    return {
        status: {
            "description": "; ".join(f"`{kind.code}`: {kind.title}" for kind in same),
            "content": PROBLEM_CONTENT,
        }
        for status, same in sorted(by_status.items())
    }


def binary(*media_types: str) -> dict[int | str, Document]:
    """Document an answer of bytes."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in media_types}
    return {200: {"description": "The bytes.", "content": content}}


def multipart() -> Document:
    """Document a multipart body of image files."""
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _form({})}}}}


def job_submission() -> Document:
    """Document the two bodies of a job's submission."""
    one_shot = _form({"spec": {"$ref": "#/components/schemas/JobOptions"}})
    one_shot["properties"][MASKS_PART] = {**FILES, "description": "One mask per image, in the order of the images."}
    content = {
        "application/json": {"schema": {"$ref": "#/components/schemas/JobCreate"}},
        "multipart/form-data": {"schema": one_shot, "encoding": {"spec": {"contentType": "application/json"}}},
    }
    return {"requestBody": {"required": True, "content": content}}


def _form(fields: Document) -> Document:
    return {"type": "object", "required": [*fields, FILES_PART], "properties": {**fields, FILES_PART: FILES}}


def add_openapi(app: FastAPI) -> None:
    """Make the app describe itself with these additions."""

    def describe() -> Document:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=app.routes,
                tags=app.openapi_tags,
            )
            app.openapi_schema = _with_unseen_models(document)
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]


def _with_unseen_models(document: Document) -> Document:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in UNSEEN_MODELS:
        schema = model.model_json_schema(ref_template=REFERENCE)
        for name, definition in schema.pop("$defs", {}).items():
            schemas.setdefault(name, definition)
        schemas.setdefault(model.__name__, schema)
    return document
