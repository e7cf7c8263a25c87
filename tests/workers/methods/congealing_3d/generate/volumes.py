"""Fields with a known shape, and networks that know what they want."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.backbones.diffusion.schedule import TRAIN_STEPS, alpha_bar


@dataclass(frozen=True)
class Ellipsoid:
    """A solid with soft skin; its colours are its places."""

    axes: tuple[float, float, float] = (0.42, 0.2, 0.26)
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    thickness: float = 60.0
    sharpness: float = 40.0

    def density(self, points: Tensor) -> Tensor:
        radius = ((points - points.new_tensor(self.centre)) / points.new_tensor(self.axes)).norm(dim=-1)
        return self.thickness * torch.sigmoid(self.sharpness * (1 - radius))

    def shaded(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.density(points), (points + 0.5).clamp(0, 1)


@dataclass(frozen=True)
class Both:
    """Two volumes in one."""

    first: Ellipsoid
    second: Ellipsoid

    def density(self, points: Tensor) -> Tensor:
        return self.first.density(points) + self.second.density(points)

    def shaded(self, points: Tensor) -> tuple[Tensor, Tensor]:
        return self.density(points), (points + 0.5).clamp(0, 1)


class Oracle:
    """A denoiser that is sure of the pictures it was last shown; pictures are their own latents.

    Attributes:
        shown: (N, 3, h, w) in [0, 1].
    """

    def __init__(self) -> None:
        self.alphas_cumprod = torch.tensor([alpha_bar(step) for step in range(TRAIN_STEPS)])
        self.shown = torch.zeros(0, 3, 1, 1)

    def encode(self, rgb: Tensor, generator: torch.Generator) -> Tensor:  # noqa: ARG002
        return 2 * rgb - 1

    def text(self, prompts: list[str]) -> Tensor:
        return torch.zeros(len(prompts), 1, 1)

    def text_with(self, token: Tensor, template: str) -> Tensor:  # noqa: ARG002
        return torch.zeros(1, 1, 1)

    def word(self, text: str) -> Tensor:  # noqa: ARG002
        return torch.zeros(1)

    def noise(self, z_t: Tensor, t: Tensor, text: Tensor, conditions: Tensor | None, views: int) -> Tensor:  # noqa: ARG002
        left = self.alphas_cumprod[t].view(-1, 1, 1, 1)
        clean = (2 * self.shown - 1).repeat(len(z_t) // len(self.shown), 1, 1, 1)
        return (z_t - left.sqrt() * clean) / (1 - left).sqrt()
