"""From a job's parameters to the training's options."""

from __future__ import annotations

from dataclasses import fields, replace

from api_schemas.methods.geo_aware_adapter import GeoAwareAdapterParams
from workers.methods.geo_aware_adapter.options import AdapterOptions, official

OFFICIAL_STEPS = 20_000


def options_of(params: GeoAwareAdapterParams) -> AdapterOptions:
    """Translate parameters; what they leave open, the preset says."""
    preset = official(OFFICIAL_STEPS) if params.preset == "official" else AdapterOptions()
    known = {field.name for field in fields(AdapterOptions)}
    given = {name: value for name, value in params.training.model_dump().items() if value is not None and name in known}
    return replace(preset, **given)
