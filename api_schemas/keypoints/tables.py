"""The keypoints of published sets: AP-10K and the 18 categories of SPair-71k, as data in TOML files."""

import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from api_schemas.keypoints.names import read_names
from api_schemas.keypoints.schema import KeypointSchema

AP10K = "ap10k"
SPAIR71K = "spair71k"


def schema_names() -> list[str]:
    """Name the tables: `ap10k`, `spair71k/aeroplane` and the other categories of SPair-71k."""
    return list(_tables())


def named_schema(name: str) -> KeypointSchema:
    """Return the keypoints of a table: names, mirror pairs and groups.

    Mirror pairs and groups are those of Telling Left from Right (arXiv 2311.17034). Keypoint i has the raw id i of the
    set's own files, so some names stand for ids that no file uses.

    Raises:
        ValueError: nothing has such a name; says what there is.
    """
    found = _tables().get(name)
    if found is None:
        close = get_close_matches(name, schema_names(), n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise ValueError(f"no table of keypoints is called {name!r}; {hint}there are {', '.join(schema_names())}")
    return found


def is_ap10k(names: Sequence[str]) -> bool:
    """Tell whether these are the names of AP-10K, in its order; however they are spelt (`left_eye`, `L_Eye`)."""
    return read_names(names) == read_names(named_schema(AP10K).names)


@cache
def _tables() -> Mapping[str, KeypointSchema]:
    rows: dict[str, object] = {AP10K: _data(AP10K)}
    rows.update({f"{SPAIR71K}/{category}": row for category, row in _data(SPAIR71K).items()})
    return MappingProxyType({name: KeypointSchema.model_validate(row) for name, row in rows.items()})


def _data(name: str) -> dict[str, object]:
    file = files("api_schemas.keypoints").joinpath(f"{name}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))
