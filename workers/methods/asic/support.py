"""Where in each image matches are to be believed: where many of them, with many other images, agreed with the maps."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from workers.geometry.joint_splines import PairedPoints

_SMOOTHED_CELLS = 3


def weighted_by_support(matches: PairedPoints, trust: Tensor, images: int, cells: int) -> PairedPoints:
    """The same matches, each weighted by how well both its ends are supported, relative to its image's best place.

    Args:
        matches: of a set.
        trust: (P, K) in [0, 1], by how much each agreed with the maps of the set.
        images: N.
        cells: a side, in which support is counted, in each frame.
    """
    ends = (
        (matches.first, matches.first_points),
        (matches.second, matches.second_points),
    )
    index = [cell_index(of, points, cells) for of, points in ends]
    support = torch.zeros(images * cells * cells, dtype=torch.float64, device=trust.device)
    for flat in index:
        support.index_add_(0, flat.flatten(), (trust * (matches.weights > 0)).double().flatten())
    maps = support.view(images, 1, cells, cells)
    smooth = avg_pool2d(maps, _SMOOTHED_CELLS, 1, _SMOOTHED_CELLS // 2, count_include_pad=False)
    share = (smooth / smooth.amax(dim=(2, 3), keepdim=True).clamp(min=1e-12)).flatten()
    first, second = (share[flat].to(matches.weights) for flat in index)
    return replace(matches, weights=matches.weights * first * second)


def cell_index(of: Tensor, points: Tensor, cells: int) -> Tensor:
    """Numbers (P, K) of the cells, `cells` a side of each frame, in which points (P, K, 2) of images (P,) lie.

    All images' cells are numbered in a row: image by image, each row by row.
    """
    column, row = ((points + 1) / 2 * cells).floor().clamp(0, cells - 1).long().unbind(dim=2)
    return (of.unsqueeze(1) * cells + row) * cells + column
