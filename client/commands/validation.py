"""What a submission would become, for people to read."""

import json
from collections.abc import Iterator, Mapping, Sequence

from pydantic import JsonValue
from rich.markup import escape
from rich.table import Column, Table

from api_schemas.annotations.model import Annotations
from api_schemas.jobs import JobValidation
from api_schemas.keypoints.schema import KeypointSchema
from client.console import out

NONE = "none"
UNKNOWN = "not known: no name tells a side; give mirror_pairs, [] if nothing changes sides"


def print_validation(found: JobValidation) -> None:
    """Print all parameters, and with annotations what became of them."""
    out.print(
        f"accepted: {escape(found.method)} {escape(found.method_version)}, images: {found.images}; no job was made"
    )
    if found.work_tflop is not None:
        out.print(f"estimated work: {found.work_tflop:,.1f} TFLOP")
    out.print(params_table(found.params))
    if found.annotations is not None:
        out.print(annotated_text(found.annotations, found.images))
        for name, schema in schemas_of(found.annotations).items():
            out.print(keypoints_table(name, schema, found.annotations))


def params_table(params: Mapping[str, JsonValue]) -> Table:
    """Lay out parameters; those of an object stand as `object.parameter`."""
    table = Table(Column("parameter", no_wrap=True), Column("value", overflow="fold"))
    for name, value in flat(params):
        table.add_row(escape(name), escape(value if isinstance(value, str) else json.dumps(value)))
    return table


def flat(params: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """List parameters under dotted names."""
    for name, value in params.items():
        if isinstance(value, dict) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def annotated_text(annotations: Annotations, images: int) -> str:
    """Say how many images and keypoints are annotated."""
    known = annotations.images.values()
    return (
        f"annotated images: {len(known)} of {images}, visible keypoints: {sum(len(image.visible) for image in known)}"
    )


def schemas_of(annotations: Annotations) -> dict[str, KeypointSchema]:
    """Return the keypoints of each category; a service looks named tables up."""
    return {name: schema for name, schema in annotations.categories.items() if isinstance(schema, KeypointSchema)}


def keypoints_table(category: str, schema: KeypointSchema, annotations: Annotations) -> Table:
    """Lay out by name which keypoints a mirror exchanges, which it leaves, and which look alike."""
    images = sum(image.category == category for image in annotations.images.values())
    table = Table(escape(f"category {category}"), f"keypoints: {len(schema.names)}, images: {images}")
    for label, lines in (
        ("mirror pairs", mirror_lines(schema)),
        ("in no pair", [", ".join(unpaired(schema)) or NONE]),
        ("groups that look alike", [names_of(schema, group) for group in schema.groups or []] or [NONE]),
    ):
        table.add_row(label, escape("\n".join(lines)))
    return table


def mirror_lines(schema: KeypointSchema) -> list[str]:
    """Write mirror pairs, one a line."""
    if schema.mirror_pairs is None:
        return [UNKNOWN]
    return [names_of(schema, pair, " ↔ ") for pair in schema.mirror_pairs] or [NONE]


def unpaired(schema: KeypointSchema) -> list[str]:
    """List the keypoints that stay what they are in a mirror."""
    paired = {keypoint for pair in schema.mirror_pairs or [] for keypoint in pair}
    return [name for index, name in enumerate(schema.names) if index not in paired]


def names_of(schema: KeypointSchema, keypoints: Sequence[int], between: str = ", ") -> str:
    """Join the names of keypoints."""
    return between.join(schema.names[keypoint] for keypoint in keypoints)
