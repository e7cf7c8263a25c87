"""The encoder half of Stable Diffusion's autoencoder (arXiv 2112.10752)."""

from typing import NamedTuple

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D
from torch import Tensor, nn

from workers.backbones.base import Tick, no_tick

LATENT_STRIDE = 8
LATENT_CHANNELS = 4
_LOG_VARIANCE_RANGE = (-30.0, 20.0)


class Posterior(NamedTuple):
    """A normal distribution of latents, scaled as the U-Net expects them: two tensors (N, 4, H / 8, W / 8)."""

    mean: Tensor
    std: Tensor


class VaeEncoder(nn.Module):
    """What of the autoencoder features need: pictures to latents, never back.

    It runs in float32 whatever the U-Net does: in float16 its activations can pass the largest number, 65504, which is
    why diffusers marks it `force_upcast`, and in bfloat16 the latents, which everything else rests on, keep two digits.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        """Keep the encoder of a filled autoencoder; the rest is free to go."""
        super().__init__()
        assert vae.quant_conv is not None
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv
        self.scaling_factor = float(vae.config["scaling_factor"])

    def posterior(self, images: Tensor, *, tick: Tick = no_tick) -> Posterior:
        """Encode images (N, 3, H, W) in [0, 1], sides multiples of 8."""
        moments = self._moments((2 * images - 1).to(self.quant_conv.weight.dtype), tick)
        mean, log_variance = moments.chunk(2, dim=1)
        std = (0.5 * log_variance.clamp(*_LOG_VARIANCE_RANGE)).exp()
        return Posterior(self.scaling_factor * mean, self.scaling_factor * std)

    def _moments(self, pixels: Tensor, tick: Tick) -> Tensor:
        hidden: Tensor = self.encoder.conv_in(pixels)
        for block in self.encoder.down_blocks:
            assert isinstance(block, DownEncoderBlock2D)
            for resnet in block.resnets:
                tick()
                hidden = resnet(hidden, None)
            for downsampler in block.downsamplers or ():
                tick()
                hidden = downsampler(hidden)
        tick()
        hidden = self.encoder.mid_block(hidden)
        tick()
        hidden = self.encoder.conv_act(self.encoder.conv_norm_out(hidden))
        moments: Tensor = self.quant_conv(self.encoder.conv_out(hidden))
        return moments
