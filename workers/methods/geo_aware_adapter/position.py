"""Where in its frame a cell lies, as channels beside the features: the project's own, not the paper's.

Features of small networks hardly say on which side of an object a part is. With the place in the frame an adapter can
learn it from the few pictures that a user annotates; mirrored training pictures keep it from going by the place alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.geometry.coordinates import identity_grid

POSITION_CHANNELS = 10
_OCTAVES = (1, 2)


def positioned(blocks: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Add 10 channels to the last of blocks (N, C_l, h_l, w_l): x and y in [-1, 1], sines and cosines of them."""
    *others, last = blocks
    channels = _position(last.shape[-2], last.shape[-1]).to(last).expand(len(last), -1, -1, -1)
    return (*others, torch.cat([last, channels], dim=1))


def input_channels(block_channels: Sequence[int], *, position: bool) -> tuple[int, ...]:
    """Channels of each block as an adapter gets them."""
    *others, last = block_channels
    return (*others, last + POSITION_CHANNELS * position)


def _position(height: int, width: int) -> Tensor:
    """(10, height, width)."""
    places = identity_grid(height, width).movedim(-1, 0)
    waves = [wave(octave * torch.pi * places) for octave in _OCTAVES for wave in (torch.sin, torch.cos)]
    return torch.cat([places, *waves])
