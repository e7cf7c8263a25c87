"""A picture as the network sees it, crop by crop, and what it attends with there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.backbones.base import Tick
from workers.backbones.diffusion.schedule import noised
from workers.methods.sd_correspondence.crops import Crops, Window
from workers.methods.sd_correspondence.reader import Reader

Noise = Literal["uniform", "gaussian", "none"]


class View(NamedTuple):
    """A crop under noise, which has the shape of a latent."""

    window: Window
    noise: Tensor


def drawn_noise(kind: Noise, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw what is added to a latent; uniform in [0, 1) in the official code, which shifts the mean too."""
    if kind == "none":
        return torch.zeros(shape)
    draw = torch.rand if kind == "uniform" else torch.randn
    return draw(shape, generator=generator)


class Scene:
    """One picture; every crop goes through the autoencoder once."""

    def __init__(self, reader: Reader, picture: Tensor, crops: Crops, *, tick: Tick) -> None:
        """Look at a picture (3, S, S) in [0, 1] through crops of it."""
        self.reader, self.crops = reader, crops
        self.tick = tick
        self._picture = picture.to(reader.device)
        self._latents: dict[Window, Tensor] = {}

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one crop."""
        return self.reader.latent_shape(self.crops.size)

    def encode(self, windows: Iterable[Window]) -> int:
        """Encode crops that are not encoded yet and count them."""
        missing = [window for window in dict.fromkeys(windows) if window not in self._latents]
        for window in missing:
            self._latents[window] = self.reader.encode(self._cropped(window), tick=self.tick)
        return len(missing)

    def noisy(self, views: Sequence[View], timestep: int) -> Tensor:
        """Noisy latents (N, ...) of crops, brought to the size of the whole picture."""
        self.encode(view.window for view in views)
        latents = torch.cat([self._latents[view.window] for view in views])
        noise = torch.stack([view.noise for view in views]).to(latents.device)
        return noised(latents, noise, timestep)

    def _cropped(self, window: Window) -> Tensor:
        x, y = window
        side = self.crops.side
        crop = self._picture[None, :, y : y + side, x : x + side]
        return interpolate(crop, (self.crops.size, self.crops.size), mode="bilinear", align_corners=False)


class FeatureSource(Protocol):
    """What the layers attend with at views of a scene."""

    def __call__(self, views: Sequence[View], contexts: Tensor, owners: Tensor) -> list[Tensor]:
        """Per layer queries (B, H, n, d) of contexts (B, 77, D), each at the view that `owners` (B,) names."""


class LiveFeatures:
    """The network is told the embedding itself and run anew: the paper's way."""

    def __init__(self, scene: Scene, timestep: int) -> None:
        """Look at `scene` under noise of a timestep."""
        self._scene, self._timestep = scene, timestep

    def __call__(self, views: Sequence[View], contexts: Tensor, owners: Tensor) -> list[Tensor]:
        """See `FeatureSource`."""
        scene = self._scene
        noisy = scene.noisy(views, self._timestep)
        return scene.reader.features(noisy, self._timestep, contexts, owners, tick=scene.tick)


class FixedFeatures:
    """The network is told one context for all, and run once a crop, under noise that belongs to the crop.

    Embeddings then only decide what is looked for, not what is seen (the idea of OVAM, CVPR 2024).
    """

    def __init__(
        self, scene: Scene, timestep: int, context: Tensor, noise_of: Callable[[Window, tuple[int, ...]], Tensor]
    ) -> None:
        """Look at `scene` with a context (1, 77, D).

        Args:
            scene: the picture.
            timestep: in 0..999.
            context: that is told the network.
            noise_of: gives the noise of a crop, of a shape.
        """
        self._scene, self._timestep, self._context, self._noise_of = scene, timestep, context, noise_of
        self._known: dict[Window, list[Tensor]] = {}

    def __call__(self, views: Sequence[View], contexts: Tensor, owners: Tensor) -> list[Tensor]:  # noqa: ARG002
        """See `FeatureSource`; the views' noise does not count, and of one view all contexts share what is returned."""
        found = [self._features(view.window) for view in views]
        if len(found) == 1:
            return found[0]
        return [torch.cat(layers)[owners] for layers in zip(*found, strict=True)]

    @torch.no_grad()
    def _features(self, window: Window) -> list[Tensor]:
        if window not in self._known:
            scene = self._scene
            view = View(window, self._noise_of(window, scene.latent_shape))
            noisy = scene.noisy([view], self._timestep)
            one = torch.zeros(1, dtype=torch.long, device=noisy.device)
            context = self._context.to(noisy.device)
            self._known[window] = scene.reader.features(noisy, self._timestep, context, one, tick=scene.tick)
        return self._known[window]
