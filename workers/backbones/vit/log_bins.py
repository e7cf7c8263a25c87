"""Features joined with their surround in log-spaced bins (Deep ViT Features, arXiv 2112.05814, official code)."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, pad

from api_schemas.backbones import LOG_BINS

BINS = LOG_BINS
_STEPS = (-1, 0, 1)
_FAR = 3


def log_bins(maps: Tensor) -> Tensor:
    """Join each feature with its eight neighbours and with eight 3 x 3 averages around these.

    Args:
        maps: (N, C, h, w).

    Returns:
        (N, 17 * C, h, w): nine blocks of C channels with the 3 x 3 neighbourhood row by row, then eight with the
        averages three cells away, row by row without the centre. Places beyond the border are those nearest on it;
        averages do not count them.
    """
    count, channels, height, width = maps.shape
    binned = maps.new_empty(count, BINS, channels, height, width)
    near = pad(maps, (1, 1, 1, 1), "replicate")
    far = pad(avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False), (_FAR,) * 4, "replicate")
    windows = [near[..., 1 + y :, 1 + x :] for y in _STEPS for x in _STEPS]
    windows += [far[..., _FAR * (1 + y) :, _FAR * (1 + x) :] for y in _STEPS for x in _STEPS if (y, x) != (0, 0)]
    for index, window in enumerate(windows):
        binned[:, index] = window[..., :height, :width]
    return binned.flatten(1, 2)


def log_bins_reference(maps: Tensor) -> Tensor:
    """Do the same as `log_bins`, place by place."""
    averages = avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    height, width = maps.shape[-2:]
    rows = []
    for y in range(height):
        for x in range(width):
            parts = []
            for level, distance in ((maps, 1), (averages, _FAR)):
                for down in (-distance, 0, distance):
                    for right in (-distance, 0, distance):
                        if level is averages and down == right == 0:
                            continue
                        row, column = min(max(y + down, 0), height - 1), min(max(x + right, 0), width - 1)
                        parts.append(level[:, :, row, column])
            rows.append(torch.cat(parts, dim=1))
    return torch.stack(rows, dim=2).view(len(maps), -1, height, width)
