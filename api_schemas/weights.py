"""The weights catalogue: names, sources, sizes, licences and checksums, as data in `weights.toml`.

An operator can add entries in a file of the same format, which `CONGEAL_WEIGHTS_CATALOGUE` names.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from api_schemas.backbones import BACKBONES
from api_schemas.base import Schema, Sha256

WeightsFamily = Literal["stable_diffusion", "mvdream"]

_CATALOGUE_VARIABLE = "CONGEAL_WEIGHTS_CATALOGUE"
_NAME = re.compile(r"[a-z0-9_]{1,64}")
_DIFFUSION_FILES = (
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
)
_FAMILY_FILES: dict[WeightsFamily, tuple[str, ...]] = {
    "stable_diffusion": _DIFFUSION_FILES,
    "mvdream": (
        *_DIFFUSION_FILES,
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "tokenizer/merges.txt",
        "tokenizer/special_tokens_map.json",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
    ),
}


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
    family: WeightsFamily | None = Field(default=None, description="What methods can take it for.")
    files: tuple[WeightsFile, ...] = Field(min_length=1)

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(file.bytes for file in self.files)

    @model_validator(mode="after")
    def _files_of_its_family(self) -> Self:
        if self.family is not None:
            paths = {file.path for file in self.files}
            missing = [path for path in _FAMILY_FILES[self.family] if path not in paths]
            if missing:
                raise ValueError(f"an entry of family {self.family!r} needs the files {', '.join(missing)} too")
        return self


class CatalogueSettings(BaseSettings):
    """Where further entries of the catalogue stand."""

    model_config = SettingsConfigDict(env_prefix="CONGEAL_", env_ignore_empty=True, frozen=True)

    weights_catalogue: Path | None = Field(
        default=None, description="TOML file with further weights, such as Stable Diffusion checkpoints of your own."
    )


class CatalogueError(ValueError):
    """The operator's catalogue cannot be used; says which file, which entry and why."""


def weights_catalogue() -> Mapping[str, WeightsEntry]:
    """All weights that backbones or methods need, by the name of the folder they lie in: ours, then the operator's.

    A file is read once in a process.

    Raises:
        CatalogueError: the operator's file cannot be read or is not right.
    """
    path = CatalogueSettings().weights_catalogue
    return _built_in() if path is None else _with_file(path.expanduser().absolute())


def diffusion_models() -> list[str]:
    """Name the Stable Diffusion checkpoints of the catalogue, in the order in which `auto` looks for them."""
    return [name for name, entry in weights_catalogue().items() if entry.family == "stable_diffusion"]


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


@cache
def _built_in() -> Mapping[str, WeightsEntry]:
    data = tomllib.loads(files("api_schemas").joinpath("weights.toml").read_text(encoding="utf-8"))
    return MappingProxyType({name: WeightsEntry.model_validate(entry) for name, entry in data.items()})


@cache
def _with_file(path: Path) -> Mapping[str, WeightsEntry]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CatalogueError(
            f"{_CATALOGUE_VARIABLE} names {path}, which cannot be read: {error.strerror or error}; name a file that "
            "can, or unset it"
        ) from error
    except ValueError as error:
        raise CatalogueError(f"the weights catalogue {path} is not TOML: {error}") from error
    return MappingProxyType({**_built_in(), **{name: _own_entry(path, name, data[name]) for name in data}})


def _own_entry(path: Path, name: str, given: object) -> WeightsEntry:
    where = f"the weights catalogue {path}, entry {name!r}"
    if not _NAME.fullmatch(name):
        raise CatalogueError(f"{where}: a name has up to 64 of the characters a-z, 0-9 and _; call it otherwise")
    if name == "auto" or name in BACKBONES or name in _built_in():
        raise CatalogueError(f"{where}: this name has a meaning of its own in Congeal; call the entry otherwise")
    try:
        return WeightsEntry.model_validate(given)
    except ValidationError as error:
        faults = [(".".join(map(str, fault["loc"])), fault["msg"]) for fault in error.errors()]
        told = "; ".join(f"{place}: {text}" if place else text for place, text in faults)
        raise CatalogueError(f"{where}: {told}") from error


def _unknown_text(name: str, known: Iterable[str]) -> str:
    names = list(known)
    close = get_close_matches(name, names, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"no weights or backbone are called {name!r}; {hint}there are {', '.join(names)}"
