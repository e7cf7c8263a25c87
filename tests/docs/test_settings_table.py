"""The table of settings in the docs says what the code says."""

from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from api_schemas.weights import CatalogueSettings
from service.settings import ServiceSettings
from storage.settings import StorageSettings
from workers.settings import WorkerSettings

PAGE = (Path(__file__).parents[2] / "docs/operating.md").read_text()
FIELDS = (
    StorageSettings.model_fields
    | CatalogueSettings.model_fields
    | ServiceSettings.model_fields
    | WorkerSettings.model_fields
)


def row(name: str, field: FieldInfo) -> str:
    default = field.default
    shown = "unset" if default is None else ",".join(default) if isinstance(default, list) else str(default)
    return f"| `CONGEAL_{name.upper()}` | {shown} | {field.description} |"


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_documented_as_it_is(name: str) -> None:
    assert row(name, FIELDS[name]) in PAGE


def test_no_setting_is_documented_that_is_not() -> None:
    documented = {line.split("`")[1] for line in PAGE.splitlines() if line.startswith("| `CONGEAL_")}
    assert documented == {f"CONGEAL_{name.upper()}" for name in FIELDS}
