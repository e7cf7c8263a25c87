"""What decides what a backbone says of an image."""

from typing import TypeVar

import torch

from api_schemas.backbones import FeatureOptions

T = TypeVar("T")

REVISION = 1
"""Counts changes of what the same weights and options yield, so that no cache mixes them up."""


def settled(option: T | None) -> T:
    """Return an option that `api_schemas.backbones.completed` has filled in.

    Raises:
        ValueError: it was not.
    """
    if option is None:
        raise ValueError("a backbone's options have a gap; fill them in with `completed`")
    return option


def identity(name: str, options: FeatureOptions, *, digest: str, dtype: torch.dtype, **settings: object) -> str:
    """Join name, options, other settings, weights and precision, by which caches tell features apart."""
    source = {"weights": digest, "dtype": dtype, "revision": REVISION}
    facts = {**options.model_dump(exclude_none=True), **settings, **source}
    return " ".join([name, *(f"{fact}={value!r}" for fact, value in facts.items())])
