"""Which backbones this machine has, and the loaded ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from api_schemas.backbones import (
    AUTO_PREFERENCE,
    BACKBONE_NAMES,
    BACKBONES,
    EMBEDDED_BACKBONE,
    HAND_MADE_BACKBONE,
    FeatureOptions,
    completed,
)
from workers.backbones.base import Backbone, Compute
from workers.backbones.dense_descriptor import DenseDescriptor
from workers.backbones.weights.finding import weights_at_hand
from workers.backbones.weights.folder import WeightsFolder, find_weights, open_weights

if TYPE_CHECKING:
    from workers.backbones.cache import FeatureCache
    from workers.backbones.diffusion.multilayer import SdBackbone
    from workers.backbones.diffusion.networks import DiffusionNetworks
    from workers.backbones.diffusion.stable_diffusion import StableDiffusion
    from workers.backbones.embedded import Embedded
    from workers.backbones.mvdream.networks import MvdreamNetworks
    from workers.backbones.vit.network import VitNetwork

AUTO = "auto"
DEFAULT_OPTIONS = FeatureOptions()

N = TypeVar("N")


def available(weights_dir: Path | None) -> list[str]:
    """Name the backbones that can be loaded from this machine's files, in the order of `BACKBONE_NAMES`."""
    return [name for name in BACKBONE_NAMES if _at_hand(name, weights_dir)]


class BackboneProvider:
    """Loads each network once and keeps it on the device.

    Attributes:
        cache: features of images that were described before, or None.
    """

    def __init__(
        self, *, compute: Compute | None = None, weights_dir: Path | None = None, cache: FeatureCache | None = None
    ) -> None:
        """Look for weights in `weights_dir` before the hub's cache."""
        self.cache = cache
        self._compute = compute or Compute()
        self._weights_dir = weights_dir
        self._vits: dict[str, VitNetwork] = {}
        self._networks: dict[str, DiffusionNetworks] = {}
        self._diffusion: dict[str, StableDiffusion] = {}
        self._mvdream: dict[str, MvdreamNetworks] = {}
        self._own: Embedded | None = None

    def available(self) -> list[str]:
        """Name the backbones at hand."""
        return available(self._weights_dir)

    def available_weights(self) -> list[str]:
        """Name the entries of the weights catalogue at hand."""
        return weights_at_hand(self._weights_dir)

    def weights(self, name: str) -> WeightsFolder:
        """Open an entry of the weights catalogue, for a method that has a network of its own.

        Raises:
            WeightsError: files are missing or unreadable, or a checksum is wrong.
        """
        return open_weights(name, self._weights_dir)

    def diffusion(self, name: str) -> DiffusionNetworks:
        """Return the networks of a Stable Diffusion checkpoint; they are loaded on first use.

        Raises:
            WeightsError: files are missing or unreadable, a checksum is wrong, or they hold another network.
        """
        if name not in self._networks:
            self._diffusion_networks(self.weights(name))
        return self._networks[name]

    def mvdream(self, name: str) -> MvdreamNetworks:
        """Return the networks of an MVDream checkpoint; they are loaded on first use.

        Raises:
            WeightsError: files are missing or unreadable, a checksum is wrong, or they hold another network.
        """
        from workers.backbones.mvdream.loading import load_mvdream

        return self._once(self._mvdream, name, lambda folder: load_mvdream(folder, self._compute))

    def resolve(self, choice: str) -> str:
        """Turn `auto` into the best backbone at hand; any other name stays."""
        if choice != AUTO:
            return choice
        return next(name for name in AUTO_PREFERENCE if _at_hand(name, self._weights_dir))

    def get(self, choice: str, options: FeatureOptions = DEFAULT_OPTIONS) -> Backbone:
        """Return a backbone by name, or the best one for `auto`; its networks are loaded on first use.

        Raises:
            ValueError: no backbone has this name, or an option does not fit it; lists what there is.
            WeightsError: its weights are missing or damaged.
        """
        name = self.resolve(choice)
        if name not in BACKBONES:
            raise ValueError(f"no backbone is called {name!r}; use one of {', '.join((AUTO, *BACKBONE_NAMES))}")
        return self._make(name, completed(name, options))

    def _make(self, name: str, options: FeatureOptions) -> Backbone:
        """Build a backbone from complete options; networks are shared, so this is cheap once they are loaded."""
        if name == HAND_MADE_BACKBONE:
            return DenseDescriptor(self._compute)
        if name == EMBEDDED_BACKBONE:
            return self._embedded()
        if name == "sd15":
            return self._multilayer(options)
        if name == "sd15_dift":
            return self._dift(options)
        if name == "sd15+dinov2_vitb14":
            return self._fusion(options)
        return self._vit(name, options)

    # timm, diffusers and transformers take longer to import than torch: they are imported on first use.

    def _vit(self, name: str, options: FeatureOptions) -> Backbone:
        from workers.backbones.vit.backbone import VitBackbone
        from workers.backbones.vit.network import load_vit

        network = self._once(self._vits, name, lambda folder: load_vit(folder, self._compute))
        return VitBackbone(network, name=name, options=options, compute=self._compute)

    def _embedded(self) -> Backbone:
        from workers.backbones.embedded import EmbeddedBackbone, load_embedded

        if self._own is None:
            self._own = load_embedded(self._compute)
        return EmbeddedBackbone(self._own, self._compute)

    def _dift(self, options: FeatureOptions) -> Backbone:
        from workers.backbones.diffusion.dift import DiftBackbone

        return DiftBackbone(self._stable_diffusion(), options)

    def _multilayer(self, options: FeatureOptions) -> SdBackbone:
        from workers.backbones.diffusion.multilayer import SdBackbone

        return SdBackbone(self._stable_diffusion(), options)

    def _fusion(self, options: FeatureOptions) -> Backbone:
        from workers.backbones.diffusion.fusion import SdDinoBackbone

        dino = self.get("dinov2_vitb14", FeatureOptions(stride=14))
        return SdDinoBackbone(self._multilayer(options), dino)

    def _stable_diffusion(self) -> StableDiffusion:
        from workers.backbones.diffusion.loading import load_stable_diffusion

        return self._once(
            self._diffusion, "sd15", lambda folder: load_stable_diffusion(folder, self._diffusion_networks(folder))
        )

    def _diffusion_networks(self, folder: WeightsFolder) -> DiffusionNetworks:
        from workers.backbones.diffusion.loading import load_networks

        if folder.name not in self._networks:
            self._networks[folder.name] = load_networks(folder, self._compute)
        return self._networks[folder.name]

    def _once(self, loaded: dict[str, N], name: str, load: Callable[[WeightsFolder], N]) -> N:
        if name not in loaded:
            loaded[name] = load(open_weights(name, self._weights_dir))
        return loaded[name]


def _at_hand(name: str, weights_dir: Path | None) -> bool:
    return all(find_weights(entry, weights_dir) is not None for entry in BACKBONES[name].weights)
