"""A trained adapter in a result folder: weights under the official names, and what they were made for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field, JsonValue
from safetensors.torch import load_file
from torch import Tensor

from api_schemas.backbones import FeatureOptions
from api_schemas.base import Schema
from workers.backbones.base import Backbone
from workers.methods.geo_aware_adapter.network import Adapter, load_adapter_state

WEIGHTS, CONFIG = "adapter/weights", "adapter/config"

Count = Annotated[int, Field(ge=1)]


class AdapterConfig(Schema):
    """What an adapter is made for."""

    backbone: str
    features: FeatureOptions
    backbone_identity: str = Field(description="Name, options, digest of the weights and precision.")
    channels: list[Count] = Field(min_length=1, description="Of each block of features.")
    blend: float = Field(default=1.0, ge=0, le=1, description="Share of the adapter in similarities.")
    width: Count
    hidden: Count
    groups: Count
    grid: Count = Field(description="Cells a side in training; others work too.")
    training: dict[str, JsonValue] = Field(default={}, description="How it was trained.")


def config_of(backbone: Backbone, *, blend: float, width: int, hidden: int, groups: int, grid: int) -> AdapterConfig:
    """Describe an adapter for a backbone."""
    return AdapterConfig(
        backbone=backbone.name,
        features=backbone.options,
        backbone_identity=backbone.identity,
        channels=list(backbone.block_channels),
        blend=blend,
        width=width,
        hidden=hidden,
        groups=groups,
        grid=grid,
    )


def config_document(config: AdapterConfig) -> JsonValue:
    """Return the config as JSON."""
    document: JsonValue = json.loads(config.model_dump_json())
    return document


def new_adapter(config: AdapterConfig) -> Adapter:
    """Return an adapter with random weights."""
    return Adapter(config.channels, width=config.width, hidden=config.hidden, groups=config.groups)


def read_config(folder: Path) -> AdapterConfig:
    """Read the config of a result folder.

    Raises:
        FileNotFoundError: it holds no adapter.
    """
    return AdapterConfig.model_validate_json((folder / f"{CONFIG}.json").read_bytes())


def read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of a result folder.

    Raises:
        FileNotFoundError: it holds no adapter.
    """
    weights: dict[str, Tensor] = load_file(folder / f"{WEIGHTS}.safetensors")
    return weights


def read_adapter(folder: Path, channels: Sequence[int]) -> tuple[Adapter, AdapterConfig]:
    """Read an adapter for features whose blocks have so many channels.

    Raises:
        FileNotFoundError: the folder holds no adapter.
        ValueError: it was made for other features, or its weights do not fit its config.
    """
    config = read_config(folder)
    there = list(channels)
    if config.channels != there:
        raise ValueError(f"the adapter is for blocks of {config.channels} channels, these have {there}")
    adapter = new_adapter(config)
    load_adapter_state(adapter, read_weights(folder))
    return adapter.eval(), config
