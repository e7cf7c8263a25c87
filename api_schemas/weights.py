"""The weights catalogue: names, sources, sizes, licences and checksums, as data in `weights.toml`."""

import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from pydantic import Field

from api_schemas.backbones import BACKBONES
from api_schemas.base import Schema, Sha256


class WeightsFile(Schema):
    """One file of a repository in the hub."""

    path: str = Field(pattern=r"^[\w-][\w.-]*(/[\w-][\w.-]*)*$")
    bytes: int = Field(gt=0, description="Size; a few bytes off where no checksum is known.")
    sha256: Sha256 | None = Field(default=None, description="Published checksum; None where it is taken from the hub.")


class WeightsEntry(Schema):
    """One network's weights."""

    hub: str = Field(description="Repository in the hub.")
    revision: str = "main"
    license: str
    architecture: str | None = Field(default=None, description="Name of the network in timm, where it is timm's.")
    files: tuple[WeightsFile, ...] = Field(min_length=1)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)


@cache
def weights_catalogue() -> Mapping[str, WeightsEntry]:
    """All weights that backbones or methods need, by the name of the folder they lie in."""
    data = tomllib.loads(files("api_schemas").joinpath("weights.toml").read_text(encoding="utf-8"))
    return MappingProxyType({name: WeightsEntry.model_validate(entry) for name, entry in data.items()})


def weights_for(names: Iterable[str]) -> list[str]:
    """Name the catalogue entries that weights or backbones so called stand for, each once.

    Raises:
        ValueError: nothing has such a name; says what there is.
    """
    found: dict[str, None] = {}
    for name in names:
        if name in BACKBONES:
            found.update(dict.fromkeys(BACKBONES[name].weights))
        elif name in weights_catalogue():
            found[name] = None
        else:
            raise ValueError(_unknown_text(name, {**weights_catalogue(), **BACKBONES}))
    return list(found)


def backbones_with(weights: str) -> list[str]:
    """Name the backbones that need an entry of the catalogue; none where only methods do."""
    return [name for name, info in BACKBONES.items() if weights in info.weights]


def size_text(size: int) -> str:
    """Write a number of bytes for people: 346 MB, 4.27 GB."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size} bytes"


def _unknown_text(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"no weights or backbone are called {name!r}; {hint}there are {', '.join(names)}"
