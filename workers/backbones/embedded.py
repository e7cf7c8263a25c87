"""The backbone that comes along: a small network of our own, for machines without pretrained weights.

How it was trained, on what, and how good it is: `docs/embedded.md` and `benchmarks/train_embedded`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, linear, normalize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from api_schemas.backbones import BACKBONES, EMBEDDED_BACKBONE, FeatureOptions
from workers.backbones.base import Backbone, Compute, Tick, cells_of, check_images, no_tick
from workers.backbones.embedded_network import COARSE_STRIDE, FINE_STRIDE, EmbeddedNetwork, ResidualBlock
from workers.backbones.identity import identity
from workers.backbones.vit.framing import normalised
from workers.backbones.weights.built_in import EMBEDDED_SHA256, check_built_in
from workers.backbones.weights.tensors import fill, read_tensors

STRIDE = BACKBONES[EMBEDDED_BACKBONE].stride
DIM = BACKBONES[EMBEDDED_BACKBONE].channels
LOOKS_PX = (112, 240)
"""Longer sides at which the network sees every image, however large: the things in it have about the sizes they had in
training."""
ONE_THING = 0.7
"""How much the stages count that tell one thing from its like, beside those that are alike across a kind."""


class Embedded(nn.Module):
    """The network, and the projection of all it says of a place onto one descriptor."""

    def __init__(self) -> None:
        super().__init__()
        self.network = EmbeddedNetwork()
        raw = len(LOOKS_PX) * sum(self._channels())
        self.mean = nn.Parameter(torch.zeros(raw))
        self.projection = nn.Parameter(torch.zeros(DIM, raw))

    def forward(self, images: Tensor, cells: tuple[int, int]) -> Tensor:
        """Describe images (N, 3, H, W) in [0, 1]: (N, C, *cells), of length 1.

        The same as projecting `all_stages`, but projected before it is spread over the cells, which is far cheaper.
        """
        grid = finest_grid(images)
        total = -(self.projection @ self.mean)[:, None, None]
        parts = iter(torch.split(self.projection, self._channels() * len(LOOKS_PX), dim=1))
        for longer_px in LOOKS_PX:
            for stage in unit_stages(self.network, images, longer_px):
                total = total + _spread(_project(stage, next(parts)), grid)
        described = _spread(total, cells)
        return normalize(described, dim=1, out=described)

    def _channels(self) -> list[int]:
        shape = self.network.shape
        return [shape.joined, shape.detail, shape.fine, shape.coarse]


def all_stages(network: EmbeddedNetwork, images: Tensor, cells: tuple[int, int]) -> Tensor:
    """What every stage says at every look, side by side in the cells of images in [0, 1]: (N, R, *cells)."""
    grid = finest_grid(images)
    parts = [_spread(stage, grid) for look in LOOKS_PX for stage in unit_stages(network, images, look)]
    return _spread(torch.cat(parts, dim=1), cells)


def finest_grid(images: Tensor) -> tuple[int, int]:
    """Cells of the finest stage at the closest look, on which all are joined."""
    height, width = looked_at(images, max(LOOKS_PX))
    return height // FINE_STRIDE, width // FINE_STRIDE


def unit_stages(network: EmbeddedNetwork, images: Tensor, longer_px: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Look once: joined, detail, fine and coarse stage, each descriptor of length 1 or `ONE_THING`."""
    stages = network(normalised(resized(images, longer_px)))
    fine, coarse = normalize(stages.fine, dim=1), normalize(stages.coarse, dim=1)
    return stages.joined, ONE_THING * stages.detail, ONE_THING * fine, coarse


def looked_at(images: Tensor, longer_px: int) -> tuple[int, int]:
    """Height and width at which the network sees images, their longer side being `longer_px`: multiples of 16."""
    scale = longer_px / max(images.shape[-2:])
    height, width = (max(1, round(side * scale / COARSE_STRIDE)) * COARSE_STRIDE for side in images.shape[-2:])
    return height, width


def resized(images: Tensor, longer_px: int) -> Tensor:
    """Bring images (N, 3, H, W) to the size of a look."""
    size = looked_at(images, longer_px)
    return images if size == images.shape[-2:] else interpolate(images, size, mode="bilinear", antialias=True)


def _project(maps: Tensor, projection: Tensor) -> Tensor:
    return linear(maps.permute(0, 2, 3, 1), projection).permute(0, 3, 1, 2)


def _spread(maps: Tensor, cells: tuple[int, ...]) -> Tensor:
    return interpolate(maps, cells, mode="bilinear")


def load_embedded(compute: Compute) -> Embedded:
    """Load the shipped weights, batch normalisation folded into the convolutions.

    Raises:
        WeightsError: the file is missing or was changed.
    """
    path = check_built_in()
    loaded = Embedded()
    tensors = {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in read_tensors(path).items()
    }
    fill(loaded, tensors, source=str(path))
    loaded.eval().requires_grad_(False)
    fold(loaded.network)
    return loaded.to(compute.device, compute.dtype).to(memory_format=torch.channels_last)


def fold(network: EmbeddedNetwork) -> None:
    """Fold every batch normalisation of a network in evaluation mode into the convolution before it."""
    network.stem[0], network.stem[1] = _folded(network.stem[0], network.stem[1]), nn.Identity()
    for block in network.modules():
        if isinstance(block, ResidualBlock):
            block.conv1, block.norm1 = _folded(block.conv1, block.norm1), nn.Identity()
            block.conv2, block.norm2 = _folded(block.conv2, block.norm2), nn.Identity()
            if isinstance(block.around, nn.Sequential):
                block.around[1], block.around[2] = _folded(block.around[1], block.around[2]), nn.Identity()


def _folded(convolution: nn.Module, norm: nn.Module) -> nn.Conv2d:
    if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
        raise TypeError(f"a {type(norm).__name__} cannot be folded into a {type(convolution).__name__}")
    return fuse_conv_bn_eval(convolution, norm)


class EmbeddedBackbone(Backbone):
    """Features of our own network; always at hand."""

    name = EMBEDDED_BACKBONE
    options = FeatureOptions()
    stride = STRIDE
    dim = DIM

    def __init__(self, network: Embedded, compute: Compute) -> None:
        """Describe with a loaded network within `compute`'s bounds of memory."""
        self._network, self._compute = network, compute
        self.identity = identity(
            self.name, self.options, digest=EMBEDDED_SHA256, dtype=compute.dtype, device=compute.device.type
        )

    @torch.no_grad()
    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe images; see `Backbone.extract`. Vectors have length 1."""
        check_images(images)
        cells = cells_of(images, STRIDE)
        described = []
        for batch in self._compute.batches(images):
            inputs = batch.to(self._compute.dtype).contiguous(memory_format=torch.channels_last)
            described.append(self._network(inputs, cells).float())
            tick()
        return described[0] if len(described) == 1 else torch.cat(described)
