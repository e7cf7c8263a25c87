"""The mapping networks of Neural Congealing (arXiv 2302.03956): a picture in, its map from the atlas out.

One network gives a similarity, a second one a residual flow in the atlas from the picture as the first aligned it:
G(p) = M [p + flow(p); 1]. Grids say for each atlas cell where to read in the picture; all in [-1, 1], (x, y).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import unfold

from workers.geometry.coordinates import identity_grid, resize_grid, sample
from workers.geometry.similarity import parameters_from_raw, similarity_matrix, transform
from workers.methods.neural_congealing.network.layers import ConvLayer, Convolution, Linear, ResBlock, halved

FLOW_UPSAMPLING = 8
_COARSE, _COARSE_CHANNELS = 4, 512
_FINE_CHANNELS = {64: (128, 32), 128: (64, 16)}


def channels(size: int, width: float) -> int:
    """Channels of the features of `size` cells a side, at a share `width` of the official ones.

    Narrow networks keep at least 32 channels at 64 cells and 16 at 128, but never more than at coarser sizes.
    """
    most = max(1, round(_COARSE_CHANNELS * width))
    if size not in _FINE_CHANNELS:
        return most
    full, least = _FINE_CHANNELS[size]
    return min(most, max(round(full * width), least))


@dataclass(frozen=True)
class Maps:
    """Maps of B pictures from an atlas.

    Attributes:
        parameters: (B, 4) theta in rad, scale, tx, ty.
        matrices: (B, 2, 3) of the similarities.
        flow: (B, A, A, 2) residual flow in the atlas, or None.
    """

    parameters: Tensor
    matrices: Tensor
    flow: Tensor | None

    def similarity_grid(self, size: int) -> Tensor:
        """The similarity at size x size atlas cells: (B, size, size, 2)."""
        return transform(self.matrices, identity_grid(size, size, device=self.matrices.device).unsqueeze(0))

    def grid(self, size: int) -> Tensor:
        """The whole map at size x size atlas cells; with a flow, no gradient reaches the similarity."""
        if self.flow is None:
            return self.similarity_grid(size)
        cells = identity_grid(size, size, device=self.flow.device)
        return transform(self.matrices.detach(), cells + self.flow_at(size))

    def flow_at(self, size: int) -> Tensor:
        """The flow at size x size atlas cells, (B, size, size, 2); zeros where there is none."""
        if self.flow is None:
            return self.matrices.new_zeros(len(self.matrices), size, size, 2)
        return self.flow if self.flow.shape[1] == size else resize_grid(self.flow, size)


def convex_upsampling(coarse: Tensor, mask: Tensor, factor: int) -> Tensor:
    """Flows (B, 2, H, W) to (B, factor H, factor W, 2), times `factor` (RAFT, arXiv 2003.12039, section 3.3).

    Each fine value is a convex combination of the 3 x 3 coarse ones around it, zeros outside, by the softmax of
    `mask` (B, 9 factor^2, H, W).
    """
    count, _, height, width = coarse.shape
    weights = mask.view(count, 1, 9, factor, factor, height, width).softmax(dim=2)
    around = unfold(factor * coarse, 3, padding=1).view(count, 2, 9, 1, 1, height, width)
    fine = (weights * around).sum(dim=2)
    return fine.permute(0, 4, 2, 5, 3, 1).reshape(count, height * factor, width * factor, 2)


class Trunk(nn.Module):
    """Residual blocks from a picture of `size` pixels to features."""

    def __init__(self, size: int, width: float, *, steps: int, level_block: bool) -> None:
        """Halve the size `steps` times; then one block that keeps it if `level_block`."""
        super().__init__()
        blocks: list[nn.Module] = [ConvLayer(3, channels(size, width), 1)]
        for _ in range(steps):
            blocks.append(ResBlock(channels(size, width), channels(size // 2, width)))
            size //= 2
        top = channels(size, width)
        if level_block:
            blocks.append(ResBlock(top, top, down=False))
        self.convs = nn.Sequential(*blocks)
        self.final_conv = ConvLayer(top, top, 3)
        self.channels, self.size = top, size

    def features(self, images: Tensor, *, mixed: bool) -> Tensor:
        """Features (B, C, size, size), float32; with `mixed` the convolutions run in bfloat16."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=mixed):
            features: Tensor = self.final_conv(self.convs(images))
        return features.float()


class SimilarityHead(nn.Module):
    """From a vector to a similarity's parameters; the identity at first."""

    def __init__(self, inputs: int) -> None:
        """From `inputs` values."""
        super().__init__()
        self.linear = nn.Linear(inputs, 4)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (theta, scale, tx, ty) (B, 4)."""
        return parameters_from_raw(self.linear(x))


class SimilarityNet(Trunk):
    """Pictures to similarities."""

    def __init__(self, size: int, width: float) -> None:
        """For pictures of `size` pixels."""
        super().__init__(size, width, steps=(size // _COARSE).bit_length() - 1, level_block=False)
        self.final_linear = Linear(self.channels * self.size**2, self.channels)
        self.warp_head = SimilarityHead(self.channels)

    def forward(self, images: Tensor, *, mixed: bool = False) -> Tensor:
        """Pictures (B, 3, size, size) to (theta, scale, tx, ty) (B, 4)."""
        flat = self.features(images, mixed=mixed).flatten(1)
        parameters: Tensor = self.warp_head(self.final_linear(flat))
        return parameters


class FlowHead(nn.Module):
    """From features to a flow of 8 times their size; none at first."""

    def __init__(self, inputs: int) -> None:
        """From `inputs` channels."""
        super().__init__()
        self.flow_out = _two_convolutions(inputs, 2)
        self.mask_out = _two_convolutions(inputs, 9 * FLOW_UPSAMPLING**2)
        nn.init.zeros_(self.flow_out.get_submodule("2").get_parameter("weight"))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, 8 H, 8 W, 2)."""
        return convex_upsampling(self.flow_out(x), self.mask_out(x), FLOW_UPSAMPLING)


def _two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(Convolution(inputs, inputs), nn.ReLU(), Convolution(inputs, outputs))


class FlowNet(Trunk):
    """Aligned pictures to residual flows."""

    def __init__(self, size: int, width: float) -> None:
        """For pictures of `size` pixels; flows have as many cells."""
        super().__init__(size, width, steps=FLOW_UPSAMPLING.bit_length() - 1, level_block=True)
        self.warp_head = FlowHead(self.channels)

    def forward(self, images: Tensor, *, mixed: bool = False) -> Tensor:
        """Pictures (B, 3, size, size) to flows (B, size, size, 2)."""
        flow: Tensor = self.warp_head(self.features(images, mixed=mixed))
        return flow


class MappingNetwork(nn.Module):
    """Both networks: `stns.0` gives similarities, `stns.1` flows."""

    def __init__(self, flow_size: int, width: float = 1.0, *, mixed: bool = False) -> None:
        """For flows of `flow_size` cells a side, a power of two from 32 on; pictures are brought to that size.

        Args:
            flow_size: side of the flows and of the pictures that the networks look at.
            width: share of the official channels.
            mixed: run the convolutions in bfloat16.

        Raises:
            ValueError: a size that is not a power of two from 32 to 128.
        """
        super().__init__()
        if flow_size not in (32, 64, 128):
            raise ValueError(f"flow_size is {flow_size}; use 32, 64 or 128")
        self.stns = nn.ModuleList([SimilarityNet(flow_size, width), FlowNet(flow_size, width)])
        self.flow_size, self.mixed = flow_size, mixed

    @property
    def flow_parameters(self) -> list[nn.Parameter]:
        """What the flow alone depends on."""
        return list(self.stns[1].parameters())

    def forward(self, pictures: Tensor, *, flow: bool) -> Maps:
        """Maps of pictures (B, 3, S, S) in [0, 1], with S = flow_size times a power of two."""
        small = pictures
        while small.shape[-1] > self.flow_size:
            small = halved(small)
        if small.shape[-1] != self.flow_size:
            raise ValueError(f"pictures have {pictures.shape[-1]} pixels a side; use {self.flow_size} x 1, 2, 4, ...")
        parameters = self.stns[0](small, mixed=self.mixed)
        similarity = Maps(parameters, similarity_matrix(parameters), None)
        if not flow:
            return similarity
        with torch.no_grad():
            aligned = sample(pictures, similarity.similarity_grid(self.flow_size))
        return Maps(parameters, similarity.matrices, self.stns[1](aligned, mixed=self.mixed))
