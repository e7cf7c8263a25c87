"""Which backbones this machine has, and the loaded ones."""

from pathlib import Path

import torch

from api_schemas.backbones import AUTO_PREFERENCE, BACKBONE_NAMES, WEIGHT_FREE_BACKBONE
from workers.backbones.base import Backbone
from workers.backbones.dense_descriptor import DenseDescriptor
from workers.backbones.weights import WEIGHTS, find_weights

AUTO = "auto"


def available(weights_dir: Path | None) -> list[str]:
    """Name the backbones that can be loaded from this machine's files, in the order of `BACKBONE_NAMES`."""
    return [name for name in BACKBONE_NAMES if _at_hand(name, weights_dir)]


class BackboneProvider:
    """Loads each backbone once and keeps it on the device."""

    def __init__(self, *, device: torch.device | str = "cpu", weights_dir: Path | None = None) -> None:
        """Look for weights in `weights_dir` before the hub's cache."""
        self._device = torch.device(device)
        self._weights_dir = weights_dir
        self._loaded: dict[str, Backbone] = {}

    def available(self) -> list[str]:
        """Name the backbones at hand."""
        return available(self._weights_dir)

    def resolve(self, choice: str) -> str:
        """Turn `auto` into the best backbone at hand; any other name stays."""
        if choice != AUTO:
            return choice
        return next(name for name in AUTO_PREFERENCE if _at_hand(name, self._weights_dir))

    def get(self, choice: str) -> Backbone:
        """Return a backbone by name, or the best one for `auto`; loaded on first use.

        Raises:
            ValueError: no backbone has this name.
            WeightsError: its weights are missing or damaged.
        """
        name = self.resolve(choice)
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def _load(self, name: str) -> Backbone:
        if name == WEIGHT_FREE_BACKBONE:
            return DenseDescriptor()
        if name not in WEIGHTS:
            raise ValueError(f"no backbone is called {name!r}; use one of {', '.join((AUTO, *BACKBONE_NAMES))}")
        from workers.backbones.timm_vit import load_timm_vit  # timm takes longer to import than torch

        return load_timm_vit(WEIGHTS[name], self._weights_dir, self._device)


def _at_hand(name: str, weights_dir: Path | None) -> bool:
    return name == WEIGHT_FREE_BACKBONE or find_weights(WEIGHTS[name], weights_dir) is not None
