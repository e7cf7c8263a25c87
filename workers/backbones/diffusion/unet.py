"""The U-Net of Stable Diffusion 1.x and 2.x, read inside and left as soon as the last reading is taken.

Its decoder has twelve steps, numbered 0 to 11 as in the original code's `output_blocks`: block `j // 3` has resnet
`j % 3`, then an attention (not in block 0), then, where `j % 3 == 2`, an upsampling (not in block 3). Features are
named by the step that they enter: place j is the output of step j - 1.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from diffusers.models.unets.unet_2d_blocks import CrossAttnDownBlock2D, CrossAttnUpBlock2D, DownBlock2D, UpBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from workers.backbones.base import Tick, no_tick
from workers.backbones.diffusion.freeu import FreeU

STEPS_A_BLOCK = 3
DECODER_STEPS = 12


class Conditioning(NamedTuple):
    """What every layer is told: the timestep's embedding (N, E) and the prompt's context (N, L, D)."""

    time: Tensor
    context: Tensor


@dataclass(frozen=True)
class Step:
    """Layers between two places where skip connections leave or join."""

    resnet: nn.Module | None = None
    attention: nn.Module | None = None
    resampling: nn.Module | None = None

    def __call__(self, hidden: Tensor, told: Conditioning) -> Tensor:
        if self.resnet is not None:
            hidden = self.resnet(hidden, told.time)
        if self.attention is not None:
            hidden = self.attention(hidden, encoder_hidden_states=told.context, return_dict=False)[0]
        return hidden if self.resampling is None else self.resampling(hidden)


def read_unet(
    unet: UNet2DConditionModel,
    latents: Tensor,
    timestep: int,
    context: Tensor,
    *,
    places: Collection[int],
    freeu: FreeU | None = None,
    tick: Tick = no_tick,
) -> dict[int, Tensor]:
    """Run the network up to the last of the places and return the hidden state at each.

    Args:
        unet: built like Stable Diffusion, see `topology.UNET`.
        latents: (N, 4, h, w) noisy, in the network's precision; sides multiples of 8.
        timestep: in 0..999.
        context: (N, L, D), or (1, L, D) for all.
        places: 0..12, decoder steps whose inputs are wanted, before the skip joins; 12 is the decoder's output.
        freeu: amplifies the states before they are read, as the official code does in place; None leaves them alone.
        tick: called between layers.

    Returns:
        Place to hidden state (N, C, h', w'), in the network's precision.
    """
    told = Conditioning(time_embedding(unet, latents, timestep), context.expand(len(latents), -1, -1))
    hidden, skips = _down(unet, latents, told, tick)
    hidden = unet.mid_block(hidden, told.time, encoder_hidden_states=told.context)
    found: dict[int, Tensor] = {}
    for place, step in enumerate(up_steps(unet)):
        tick()
        hidden = hidden if freeu is None else freeu.amplified(hidden)
        if place in places:
            found[place] = hidden
        if place == max(places):
            return found
        skip = skips.pop() if freeu is None else freeu.damped(skips.pop(), hidden.shape[1])
        hidden = step(torch.cat([hidden, skip], dim=1), told)
    return found | {DECODER_STEPS: hidden}


def time_embedding(unet: UNet2DConditionModel, latents: Tensor, timestep: int) -> Tensor:
    """Embed a timestep (N, E) for each of the latents (N, 4, h, w), in their precision."""
    timesteps = torch.full((len(latents),), timestep, device=latents.device)
    embedding: Tensor = unet.time_embedding(unet.time_proj(timesteps).to(latents.dtype))
    return embedding


def _down(unet: UNet2DConditionModel, latents: Tensor, told: Conditioning, tick: Tick) -> tuple[Tensor, list[Tensor]]:
    """The encoder: its output, and every state that the decoder takes up, last first out."""
    skips: list[Tensor] = [unet.conv_in(latents)]
    for step in down_steps(unet):
        tick()
        skips.append(step(skips[-1], told))
    return skips[-1], skips


def down_steps(unet: UNet2DConditionModel) -> Iterator[Step]:
    """List the encoder's steps; the output of each is a skip connection."""
    for block in unet.down_blocks:
        assert isinstance(block, CrossAttnDownBlock2D | DownBlock2D)
        for index, resnet in enumerate(block.resnets):
            yield Step(resnet, _attention(block, index))
        if block.downsamplers is not None:
            yield Step(resampling=block.downsamplers[0])


def up_steps(unet: UNet2DConditionModel) -> Iterator[Step]:
    """List the decoder's steps; each takes the last skip connection that is left."""
    for block in unet.up_blocks:
        assert isinstance(block, CrossAttnUpBlock2D | UpBlock2D)
        for index, resnet in enumerate(block.resnets):
            last = index == len(block.resnets) - 1 and block.upsamplers is not None
            yield Step(resnet, _attention(block, index), block.upsamplers[0] if last else None)


def _attention(block: nn.Module, index: int) -> nn.Module | None:
    return block.attentions[index] if isinstance(block, CrossAttnDownBlock2D | CrossAttnUpBlock2D) else None
