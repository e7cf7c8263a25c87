"""The command that lists methods and explains their parameters."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

import typer
from pydantic import JsonValue
from rich.markup import escape
from rich.table import Column, Table

from api_schemas.methods.spec import MethodDetail, MethodSummary, ModelStatus
from api_schemas.weights import size_text
from client.commands.options import DEFAULT_URL, Url
from client.console import out, reporting_errors
from client.sdk import Congeal

BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "multipleOf": "multiple of {}",
}


@reporting_errors
def methods(
    name: Annotated[str | None, typer.Argument(help="Show the parameters of this method.", show_default=False)] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """List the methods of the service, or explain one."""
    with Congeal(url) as congeal:
        if name is None:
            out.print(methods_table(congeal.methods()))
        else:
            print_method(congeal.method(name))


def methods_table(summaries: list[MethodSummary]) -> Table:
    """Lay out all methods."""
    table = Table(Column("method", no_wrap=True), "what it does", "result", "images", "ready", "backbones or models")
    for method in summaries:
        ready = "[green]yes[/]" if method.ready else "[red]no[/]"
        images = f"{method.min_images}–{method.max_images}"
        networks = escape(", ".join(method.backbones or method.models))
        table.add_row(escape(method.id), escape(method.summary), method.form.value, images, ready, networks)
    return table


def print_method(method: MethodDetail) -> None:
    """Print one method with its parameters."""
    out.print(f"[bold]{escape(method.title)}[/] ({escape(method.id)} {escape(method.version)})")
    out.print(escape(method.summary))
    if method.paper:
        out.print(f"paper: {escape(method.paper)}")
    out.print(f"images: {method.min_images} to {method.max_images}; stages: {escape(', '.join(method.stages))}")
    if method.known_models:
        out.print(models_table(method.known_models))
    out.print(params_table(method.params_schema))


def models_table(models: Sequence[ModelStatus]) -> Table:
    """Lay out the diffusion models that a job can name."""
    table = Table(Column("model", no_wrap=True), "ready", "size", "license", "source")
    for model in models:
        ready = "[green]yes[/]" if model.ready else f"[red]no[/], `congeal weights pull {escape(model.name)}`"
        table.add_row(
            escape(model.name), ready, size_text(model.weights_bytes), *map(escape, (model.license, model.hub))
        )
    return table


def params_table(schema: Mapping[str, JsonValue]) -> Table:
    """Lay out parameters from their JSON Schema; those of an object stand as `object.parameter`."""
    table = Table(Column("parameter", no_wrap=True), "type", "default", Column("bounds", overflow="fold"), "help")
    for name, field in flat_properties(schema, definitions_of(schema)):
        cells = (name, type_text(field), str(field.get("default", "required")), bounds_text(field))
        table.add_row(*map(escape, cells), escape(str(field.get("description", ""))))
    return table


def flat_properties(
    schema: Mapping[str, JsonValue], definitions: Mapping[str, JsonValue]
) -> Iterator[tuple[str, Mapping[str, JsonValue]]]:
    """List the properties of an object and, under dotted names, of the objects that it refers to."""
    properties = schema.get("properties")
    for name, field in properties.items() if isinstance(properties, dict) else ():
        if not isinstance(field, dict):
            continue
        if "$ref" not in field:
            yield name, field
        for kind in (field, *alternatives_of(field)):
            referred = definitions.get(str(kind.get("$ref", "")).removeprefix("#/$defs/"))
            if isinstance(referred, dict):
                inner = flat_properties(referred, definitions)
                yield from ((f"{name}.{inner_name}", inner_field) for inner_name, inner_field in inner)


def definitions_of(schema: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """Return the objects that a JSON Schema names."""
    definitions = schema.get("$defs")
    return definitions if isinstance(definitions, dict) else {}


def type_text(field: Mapping[str, JsonValue]) -> str:
    """Name the type of a parameter."""
    alternatives = alternatives_of(field)
    if alternatives:
        return " or ".join(dict.fromkeys(map(type_text, alternatives)))
    return str(field.get("type", "object" if "$ref" in field else "choice"))


def bounds_text(field: Mapping[str, JsonValue]) -> str:
    """Say which values a parameter may take."""
    choices = choices_of(field)
    if choices:
        return ", ".join(choices)
    kinds = (field, *alternatives_of(field))
    return ", ".join(text.format(kind[key]) for kind in kinds for key, text in BOUNDS.items() if key in kind)


def choices_of(field: Mapping[str, JsonValue]) -> list[str]:
    """List the values of a closed set."""
    choices: list[str] = []
    for option in (field, *alternatives_of(field)):
        values = option.get("enum")
        if isinstance(values, list):
            choices += map(str, values)
        if "const" in option:
            choices.append(str(option["const"]))
    return choices


def alternatives_of(field: Mapping[str, JsonValue]) -> list[Mapping[str, JsonValue]]:
    """Return the alternatives of a union."""
    alternatives = field.get("anyOf", field.get("oneOf"))
    return [option for option in alternatives if isinstance(option, dict)] if isinstance(alternatives, list) else []
