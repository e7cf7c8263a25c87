"""The network that makes features geometry-aware, `AggregationNetwork` of GeoAware-SC (arXiv 2311.17034)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, normalize

OFFICIAL_CHANNELS = (640, 1280, 1280, 768)
"""Of the official blocks: three of a diffusion U-Net, fine to coarse, and DINOv2's last."""
OFFICIAL_WIDTH = 768
OFFICIAL_HIDDEN = 192
OFFICIAL_GROUPS = 32

_FIRST_TEMPERATURE = 0.07
_FIRST_SELF_SCALE = 10.0
_SMALLEST_NORM = 1e-10


class NormedConv(nn.Conv2d):
    """A convolution without bias that keeps the grid, and its group normalisation."""

    def __init__(self, inputs: int, outputs: int, size: int, groups: int) -> None:
        """Begin as the official code does: Kaiming's normal weights by fan out."""
        super().__init__(inputs, outputs, size, padding=size // 2, bias=False)
        nn.init.kaiming_normal_(self.weight, mode="fan_out", nonlinearity="relu")
        self.norm = nn.GroupNorm(groups, outputs)

    def forward(self, x: Tensor, cells: int | None = None) -> Tensor:
        """(N, C, h, w) convolved and normalised, between the two brought to `cells` x `cells` if given.

        A 1x1 convolution and bilinear upsampling commute: it is cheaper before. The normalisation does not.
        """
        x = self._conv_forward(x, self.weight, None)
        normed: Tensor = self.norm(x if cells is None else upsampled(x, cells))
        return normed


class Bottleneck(nn.Module):
    """A residual block that reads one block of features, on the features' own grid as far as that changes nothing."""

    def __init__(self, inputs: int, width: int, hidden: int, groups: int) -> None:
        """Begin with random weights; the shortcut is learned only where widths differ."""
        super().__init__()
        self.shortcut = NormedConv(inputs, width, 1, groups) if inputs != width else None
        self.conv1 = NormedConv(inputs, hidden, 1, groups)
        self.conv2 = NormedConv(hidden, hidden, 3, groups)
        self.conv3 = NormedConv(hidden, width, 1, groups)

    def forward(self, block: Tensor, cells: int) -> Tensor:
        """Block (N, C, h, w) to (N, width, cells, cells), at least 0."""
        inner = torch.relu(self.conv1(block, cells))
        inner = self.conv3(torch.relu(self.conv2(inner)))
        kept = upsampled(block, cells) if self.shortcut is None else self.shortcut(block, cells)
        return torch.relu(inner + kept)


class Adapter(nn.Module):
    """One bottleneck a block of features, and their mean by learned weights."""

    def __init__(
        self,
        channels: Sequence[int],
        *,
        width: int = OFFICIAL_WIDTH,
        hidden: int = OFFICIAL_HIDDEN,
        groups: int = OFFICIAL_GROUPS,
    ) -> None:
        """Begin with random weights.

        Args:
            channels: of each block of features, in the order in which they are given.
            width: channels of the result.
            hidden: channels within the bottlenecks.
            groups: of the group normalisations; they divide `width` and `hidden`.

        Raises:
            ValueError: no channels, or groups that do not divide.
        """
        super().__init__()
        if not channels or min(channels) < 1:
            raise ValueError(f"channels are {list(channels)}; give those of at least one block, each at least 1")
        if groups < 1 or width % groups or hidden % groups or min(width, hidden) < groups:
            raise ValueError(f"{groups} groups do not divide width {width} and hidden {hidden}; use a common divisor")
        self.channels, self.width = tuple(channels), width
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / _FIRST_TEMPERATURE)))
        self.self_logit_scale = nn.Parameter(torch.tensor(math.log(_FIRST_SELF_SCALE)))
        self.mixing_weights = nn.Parameter(torch.ones(len(channels)))
        self.bottleneck_layers = nn.ModuleList(
            nn.Sequential(Bottleneck(inputs, width, hidden, groups)) for inputs in channels
        )

    def forward(self, blocks: Sequence[Tensor], cells: int) -> Tensor:
        """Features made geometry-aware.

        Args:
            blocks: (N, C_l, h_l, w_l) of each block l, each on its own grid.
            cells: a side of the result.

        Returns:
            (N, width, cells, cells), at least 0, not normalised.

        Raises:
            ValueError: other blocks than the adapter was made for.
        """
        found = tuple(block.shape[1] for block in blocks)
        if found != self.channels:
            raise ValueError(f"the blocks have {found} channels, the adapter is for {self.channels}; use its backbone")
        shares = torch.softmax(self.mixing_weights, dim=0)
        total: Tensor | None = None
        for share, layer, block in zip(shares, self.bottleneck_layers, blocks, strict=True):
            branch = share * layer[0](block, cells)  # type: ignore[index]
            total = branch if total is None else total + branch
        assert total is not None
        return total

    def describe(self, blocks: Sequence[Tensor], cells: int) -> Tensor:
        """The same, float32, each cell of unit length; a cell of nothing but zeros stays so."""
        return normalize(self(blocks, cells).float(), dim=1, eps=_SMALLEST_NORM)


def upsampled(maps: Tensor, cells: int) -> Tensor:
    """Maps (N, C, h, w) bilinearly at `cells` x `cells`."""
    if maps.shape[2:] == (cells, cells):
        return maps
    return interpolate(maps, (cells, cells), mode="bilinear", align_corners=False)


@torch.no_grad()
def load_adapter_state(adapter: Adapter, tensors: Mapping[str, Tensor]) -> None:
    """Load weights under the official names.

    Official files may hold more mixing weights than there are blocks; the first ones count.

    Args:
        adapter: gets the weights.
        tensors: by the names of `Adapter.state_dict`.

    Raises:
        ValueError: tensors are missing, unknown, or of another shape; nothing was loaded then.
    """
    own = adapter.state_dict()
    branches = len(adapter.channels)
    given = {name: tensor[:branches] if name == "mixing_weights" else tensor for name, tensor in tensors.items()}
    faults = [f"{name} is missing" for name in own if name not in given]
    faults += [f"{name} is unknown" for name in given if name not in own]
    faults += [
        f"{name} is {tuple(given[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in own.items()
        if name in given and given[name].shape != tensor.shape
    ]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise ValueError(
            f"the weights are not those of this adapter: {'; '.join(faults[:5])}{more}; "
            f"give an adapter trained for blocks of {adapter.channels} channels and width {adapter.width}"
        )
    for name, tensor in own.items():
        tensor.copy_(given[name])
