"""How the official code of arXiv 2305.15581 optimises and reads a prompt, written plainly, to compare ours with.

One prompt and one crop at a time, each crop encoded anew, the whole U-Net every time, and attention compared and
averaged at the size of the picture.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import interpolate, mse_loss

from workers.backbones.diffusion.attention import TAPPED_LAYERS
from workers.backbones.diffusion.schedule import noised
from workers.backbones.diffusion.vae import VaeEncoder

TOKEN = 1
OPTIMISE_TIMESTEP, READ_TIMESTEP = 140, 40
_MARGIN = 0.15


class _Store:
    """Attention written out, which keeps its probabilities (heads, cells, 77) of one picture."""

    def __init__(self) -> None:
        self.shares = torch.zeros(())

    def __call__(self, attention: Any, hidden: Tensor, encoder_hidden_states: Tensor, **_: object) -> Tensor:
        query = attention.head_to_batch_dim(attention.to_q(hidden))
        key = attention.head_to_batch_dim(attention.to_k(encoder_hidden_states))
        value = attention.head_to_batch_dim(attention.to_v(encoder_hidden_states))
        self.shares = (query @ key.transpose(-1, -2) * attention.scale).softmax(-1)
        out: Tensor = attention.to_out[0](attention.batch_to_head_dim(self.shares @ value))
        return out


class OfficialNetwork:
    """The networks with the four cross-attentions' probabilities at hand; the caller's stay as they are."""

    def __init__(self, unet: UNet2DConditionModel, vae: VaeEncoder) -> None:
        """Copy `unet`."""
        self.unet, self.vae = copy.deepcopy(unet), vae
        self._stores = [_Store() for _ in TAPPED_LAYERS]
        for name, store in zip(TAPPED_LAYERS, self._stores, strict=True):
            attention: Any = self.unet.get_submodule(f"{name}.transformer_blocks.0.attn2")
            attention.set_processor(store)

    @torch.no_grad()
    def encode(self, crop: Tensor) -> Tensor:
        """Latents (1, 4, S / 8, S / 8) of a crop (1, 3, S, S) in [0, 1]."""
        return self.vae.posterior(crop).mean

    def attention(self, noisy: Tensor, timestep: int, prompt: Tensor, pixels: int) -> Tensor:
        """Run the whole network and return maps (layers, heads, pixels, pixels) of the token, second half of heads."""
        self.unet(noisy, timestep, encoder_hidden_states=prompt)
        return torch.cat([_upsampled(store.shares, pixels) for store in self._stores])


def _upsampled(shares: Tensor, pixels: int) -> Tensor:
    """Maps (1, heads, pixels, pixels) of probabilities (all heads, cells, 77)."""
    side = round(shares.shape[1] ** 0.5)
    chosen = shares[len(shares) // 2 :, :, TOKEN].reshape(1, -1, side, side)
    return interpolate(chosen, (pixels, pixels), mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Cropping:
    """Random crops of `side` pixels from a square of `size`."""

    size: int
    side: int

    def draw(self, place: tuple[float, float], source: torch.Generator) -> tuple[int, int]:
        """Draw the left and upper edge of a crop with a point well inside, as far as may be."""
        margin, free = int(self.side * _MARGIN), self.size - self.side
        x, y = (
            int(
                torch.randint(
                    int(min(max(0.0, at - self.side + margin), free)),
                    int(min(max(0.0, at - margin), free)) + 1,
                    (1,),
                    generator=source,
                )
            )
            for at in place
        )
        return x, y

    def cut(self, picture: Tensor, edge: tuple[int, int]) -> Tensor:
        """The crop of a picture (3, S, S), at the picture's size (1, 3, S, S)."""
        x, y = edge
        crop = picture[None, :, y : y + self.side, x : x + self.side]
        return interpolate(crop, (self.size, self.size), mode="bilinear", align_corners=False)


def peak_loss(maps: Tensor, place: tuple[float, float], sigma: float) -> Tensor:
    """Mean over the layers of how far maps (layers, heads, S, S) are from a Gaussian at a place in [0, 1]^2."""
    pixels = maps.shape[-1]
    rows, columns = torch.meshgrid(*[torch.arange(pixels, device=maps.device)] * 2, indexing="ij")
    squared = (columns - pixels * place[0]).square() + (rows - pixels * place[1]).square()
    wanted = torch.exp(-squared / (2 * sigma**2))
    return torch.stack([mse_loss(layer.mean(0), wanted) for layer in maps]).mean()


def optimised(
    network: OfficialNetwork,
    picture: Tensor,
    place: tuple[float, float],
    start: Tensor,
    *,
    cropping: Cropping,
    sigma: float,
    steps: int,
    rate: float,
    source: torch.Generator,
) -> tuple[Tensor, list[float]]:
    """Optimise a prompt for a point of a picture.

    Args:
        network: the networks.
        picture: (3, S, S) in [0, 1].
        place: x, y in pixels.
        start: (1, 77, D).
        cropping: of the picture.
        sigma: of the wanted peak, in pixels.
        steps: of Adam.
        rate: of Adam.
        source: of crops and noise.

    Returns:
        The prompt (1, 77, D), and its loss before each step.
    """
    prompt = start.clone().requires_grad_()
    adam = torch.optim.Adam([prompt], lr=rate)
    losses = []
    for _ in range(steps):
        edge = cropping.draw(place, source)
        latents = network.encode(cropping.cut(picture, edge))
        noisy = noised(latents, torch.rand(latents.shape, generator=source), OPTIMISE_TIMESTEP)
        maps = network.attention(noisy, OPTIMISE_TIMESTEP, prompt, cropping.size)
        inside = (place[0] - edge[0]) / cropping.side, (place[1] - edge[1]) / cropping.side
        loss = peak_loss(maps, inside, sigma)
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
        losses.append(float(loss.detach()))
    return prompt.detach(), losses


@torch.no_grad()
def averaged(
    network: OfficialNetwork,
    picture: Tensor,
    prompt: Tensor,
    *,
    cropping: Cropping,
    crops: int,
    source: torch.Generator,
) -> Tensor:
    """Read a picture (3, S, S) with a prompt: maps (layers, S, S), means over crops of which each lies round the
    highest place so far, after the four corners."""
    size, side, last = cropping.size, cropping.side, cropping.size - cropping.side
    total, times = torch.zeros(len(TAPPED_LAYERS), size, size), torch.zeros(size, size)
    corners = [(0, 0), (0, last), (last, 0), (last, last)]
    for number in range(crops):
        x, y = corners[number] if number < len(corners) else cropping.draw(_highest(total / times), source)
        latents = network.encode(cropping.cut(picture, (x, y)))
        noisy = noised(latents, torch.rand(latents.shape, generator=source), READ_TIMESTEP)
        maps = network.attention(noisy, READ_TIMESTEP, prompt, side).mean(1)
        total[:, y : y + side, x : x + side] += maps
        times[y : y + side, x : x + side] += 1
    return total / times


def found(maps: Sequence[Tensor]) -> tuple[float, float]:
    """Where the maps (layers, S, S) of all rounds together are highest: the mean of the layers' softmax over pixels."""
    mean = torch.stack(list(maps)).mean(0)
    return _highest(mean.flatten(1).softmax(1).view_as(mean))


def _highest(maps: Tensor) -> tuple[float, float]:
    """Centre (x, y) of the highest pixel of maps (layers, S, S), NaN counting nothing."""
    row, column = divmod(int(maps.nan_to_num(0.0).mean(0).argmax()), maps.shape[-1])
    return column + 0.5, row + 0.5
