"""The backbone that needs no weights: gradient histograms in four context sizes, from a part's size to the object's.

Each context is a DAISY-like rosette (Tola et al., "DAISY: An efficient dense descriptor", TPAMI 2010): orientation
histograms, Gaussian-pooled, read at the centre and at eight places around it, normalised and clipped as in SIFT (Lowe
2004). Orientations have no sign and come from the strongest colour channel (Dalal & Triggs 2005), so that recolouring
and reversed contrast change little. Sizes grow with the image: a context always covers the same share of the frame.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, conv2d, normalize, pad

from api_schemas.backbones import FeatureOptions
from workers.backbones.base import Backbone, Compute, Tick, check_images, no_tick

# Counts changes of what the numbers mean, so that no cache mixes them up.
REVISION = 1
STRIDE = 4
REFERENCE_SIDE = 256
ORIENTATIONS = 6
RING = 8
_SHARPNESS = 3
_MAGNITUDE_POWER = 0.7
_CLIP = 0.2
_FLAT = 1e-3
_ENERGY_WEIGHT = 0.3
_CONTRAST_WEIGHT = 0.15
_SURROUNDS = ((1.0, 4.0), (2.0, 8.0), (4.0, 16.0))
# Rows: lightness, red against green, yellow against blue.
_OPPONENT = ((0.299, 0.587, 0.114), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))


@dataclass(frozen=True)
class Context:
    """One size of rosette, for an image of 256 pixels."""

    blur_px: float
    """Standard deviation of the blur before gradients are taken."""
    step: float
    """Unit of the rosette in feature cells: the ring's radius is 1.5 steps, the pooling's deviation 0.6 steps."""


CONTEXTS = (Context(0.0, 2.0), Context(1.0, 4.0), Context(2.0, 8.0), Context(3.0, 14.0))
DIM = len(CONTEXTS) * ORIENTATIONS * (RING + 1) + (1 + len(_OPPONENT)) * len(_SURROUNDS)


class DenseDescriptor(Backbone):
    """Multi-scale dense gradient histograms with lightness and colour contrast; always at hand."""

    name = "dense_descriptor"
    options = FeatureOptions()
    stride = STRIDE
    dim = DIM

    def __init__(self, compute: Compute | None = None) -> None:
        """Describe within `compute`'s bounds of memory, always in float32."""
        self._compute = compute or Compute()
        self.identity = f"{self.name} v{REVISION} {self._compute.device.type}"

    @torch.no_grad()
    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe images; see `Backbone.extract`. Vectors have length 1 (0 where the whole frame is flat)."""
        check_images(images)
        described = []
        for batch in self._compute.batches(images):
            described.append(self._extract(batch))
            tick()
        return torch.cat(described)

    def _extract(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        size = (round(height / STRIDE), round(width / STRIDE))
        scale = max(height, width) / REFERENCE_SIDE
        parts = [_rosette(images, context, size, scale) for context in CONTEXTS]
        parts.append(_ENERGY_WEIGHT * _energy(images, size, scale))
        parts.append(_CONTRAST_WEIGHT * _contrast(images, size, scale))
        return normalize(torch.cat(parts, dim=1), dim=1)


def _rosette(images: Tensor, context: Context, size: tuple[int, int], scale: float) -> Tensor:
    """Return (N, 9 * orientations, h, w), of length 1/2."""
    blurred = gaussian_blur(images, context.blur_px * scale)
    step = context.step * scale
    pooled = gaussian_blur(adaptive_avg_pool2d(orientation_maps(blurred), size), 0.6 * step)
    stacked = torch.cat([_shifted(pooled, *offset) for offset in _ring_offsets(1.5 * step)], dim=1)
    length = stacked.norm(dim=1, keepdim=True)
    return 0.5 * normalize((stacked / (length + _FLAT)).clamp(max=_CLIP), dim=1)


def orientation_maps(images: Tensor) -> Tensor:
    """Split gradient strength by orientation.

    Args:
        images: (N, C, H, W).

    Returns:
        (N, 6, H, W), orientations without sign at k * 30 degrees from the x axis, of the strongest channel's gradient.
    """
    gx, gy = strongest(*_gradients(images))
    magnitude = (gx.square() + gy.square() + 1e-12).sqrt()
    angles = torch.arange(ORIENTATIONS, device=images.device) * (math.pi / ORIENTATIONS)
    cosines, sines = angles.cos().view(1, -1, 1, 1), angles.sin().view(1, -1, 1, 1)
    agreement = ((gx * cosines + gy * sines) / magnitude).abs()
    return agreement.pow(_SHARPNESS) * magnitude.pow(_MAGNITUDE_POWER)


def gaussian_blur(maps: Tensor, sigma: float) -> Tensor:
    """Blur maps (N, C, H, W) with a Gaussian of deviation `sigma` cells; borders replicate, sigma <= 0 copies."""
    if sigma <= 0:
        return maps
    radius = max(1, math.ceil(2.5 * sigma))
    place = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-place.square() / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    channels = maps.shape[1]
    across = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    down = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    maps = conv2d(pad(maps, (radius, radius, 0, 0), "replicate"), across, groups=channels)
    return conv2d(pad(maps, (0, 0, radius, radius), "replicate"), down, groups=channels)


def _gradients(images: Tensor) -> tuple[Tensor, Tensor]:
    padded = pad(images, (1, 1, 1, 1), "replicate")
    gx = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    gy = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return gx, gy


def strongest(gx: Tensor, gy: Tensor) -> tuple[Tensor, Tensor]:
    """Keep, at each place, the gradient of the channel where it is largest."""
    strength = gx.square() + gy.square()
    best, best_x, best_y = strength[:, :1], gx[:, :1], gy[:, :1]
    for channel in range(1, gx.shape[1]):
        part = slice(channel, channel + 1)
        stronger = strength[:, part] > best
        best = torch.where(stronger, strength[:, part], best)
        best_x = torch.where(stronger, gx[:, part], best_x)
        best_y = torch.where(stronger, gy[:, part], best_y)
    return best_x, best_y


def _ring_offsets(radius: float) -> list[tuple[int, int]]:
    angles = [2 * math.pi * k / RING for k in range(RING)]
    return [(0, 0)] + [(round(radius * math.cos(a)), round(radius * math.sin(a))) for a in angles]


def _shifted(maps: Tensor, dx: int, dy: int) -> Tensor:
    """Read maps at an offset of whole cells; places beyond the border replicate it."""
    height, width = maps.shape[-2:]
    rows = (torch.arange(height, device=maps.device) + dy).clamp(0, height - 1)
    columns = (torch.arange(width, device=maps.device) + dx).clamp(0, width - 1)
    return maps[..., rows, :][..., columns]


def _energy(images: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """Compare edge strength near a place with that around it, in [-1, 1]; what histograms lose by normalisation."""
    gx, gy = _gradients(images)
    strength = (gx.square() + gy.square()).sum(dim=1, keepdim=True).add(1e-12).sqrt()
    pooled = adaptive_avg_pool2d(strength, size)
    parts = []
    for near, around in _SURROUNDS:
        inner, outer = gaussian_blur(pooled, near * scale), gaussian_blur(pooled, around * scale)
        parts.append((inner - outer) / (inner + outer + 1e-2))
    return torch.cat(parts, dim=1)


def _contrast(images: Tensor, size: tuple[int, int], scale: float) -> Tensor:
    """Distance in [0, 1] of lightness and opponent colours from their surround, without sign, in local deviations."""
    matrix = images.new_tensor(_OPPONENT)
    opponent = adaptive_avg_pool2d(torch.einsum("kc,nchw->nkhw", matrix, images), size)
    parts = []
    for near, around in _SURROUNDS:
        inner, outer = gaussian_blur(opponent, near * scale), gaussian_blur(opponent, around * scale)
        deviation = gaussian_blur((opponent - outer).square(), around * scale).clamp(min=0).sqrt()
        parts.append(((inner - outer).abs() / (deviation + 0.02)).clamp(max=3) / 3)
    return torch.cat(parts, dim=1)
