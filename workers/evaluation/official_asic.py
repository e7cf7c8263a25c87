"""How the official code of ASIC (arXiv 2303.16201) frames, scores and blends, for comparing figures with its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

ALPHAS = np.arange(10, 0, -1) / 100
"""Shares of the threshold, .10 down to .01."""
_BLUR_PX = 11
_FIRST_SIGMA = 0.5
_LEVELS = 3

Array = npt.NDArray[np.float64]


def pck(errors: Array, visible: npt.NDArray[np.bool_], thresholds: Array | float) -> Array:
    """Shares (10,) of visible points with errors (P, K) strictly below each of `ALPHAS` times their threshold.

    Args:
        errors: (P, K) in pixels.
        visible: (P, K).
        thresholds: of each pair (P,), or one for all, in pixels.
    """
    limits = ALPHAS[:, None, None] * np.broadcast_to(np.asarray(thresholds, dtype=np.float64), (len(errors),))[:, None]
    share: Array = (errors < limits)[:, visible].mean(axis=1)
    return share


def padded_points(points: Array, width: int, height: int, *, size: int = 256) -> Array:
    """Points (K, 2) of a picture in its frame, as the official loader of SPair-71k places them.

    It rounds the padding of the scaled picture, which is up to half a pixel off where the picture lies.
    """
    longer = max(width, height)
    offset = [int((size - round(size * side / longer)) / 2) for side in (width, height)]
    framed: Array = points * size / longer + np.array(offset)
    return framed


def padding(width: int, height: int) -> tuple[int, int]:
    """Pixels (left, top) by which a picture is padded to a square before it is scaled."""
    longer = max(width, height)
    return (longer - width) // 2, (longer - height) // 2


@dataclass(frozen=True)
class AnnotatedPair:
    """A pair of images as SPair-71k lists it: of each its name, size, keypoints by id, and box (x0, y0, x1, y1)."""

    names: tuple[str, str]
    sizes: tuple[tuple[int, int], tuple[int, int]]
    keypoints: tuple[Mapping[int, tuple[float, float]], Mapping[int, tuple[float, float]]]
    boxes: tuple[tuple[float, float, float, float], tuple[float, float, float, float]]


@dataclass(frozen=True)
class LoadedKeypoints:
    """What the official loader makes of pairs: by name, keypoints (K, 2), whether visible (K,), and thresholds."""

    points: Mapping[str, Array]
    visible: Mapping[str, npt.NDArray[np.bool_]]
    thresholds: Mapping[str, float]


def spair_keypoints(pairs: Sequence[AnnotatedPair], *, size: int = 256) -> LoadedKeypoints:
    """Read keypoints as the official loader does: what an image's last pair lists replaces all that was there."""
    used = sorted({number for pair in pairs for number in pair.keypoints[0]})
    points: dict[str, Array] = {}
    visible: dict[str, npt.NDArray[np.bool_]] = {}
    thresholds: dict[str, float] = {}
    for pair in pairs:
        for name, (width, height), own, box in zip(pair.names, pair.sizes, pair.keypoints, pair.boxes, strict=True):
            seen = np.array([number in own for number in used])
            given = np.array([own.get(number, (0.0, 0.0)) for number in used], dtype=np.float64)
            points[name] = np.where(seen[:, None], padded_points(given, width, height, size=size), 0.0)
            visible[name] = seen
            thresholds[name] = max(box[2] - box[0], box[3] - box[1]) * size / max(width, height)
    return LoadedKeypoints(points, visible, thresholds)


def grid_points(mask: Tensor, resolution: int) -> tuple[Tensor, Tensor]:
    """Evenly spaced points (R, R, 2) of a picture, the corners' pixels among them, and its mask (S, S) there (R, R)."""
    axis = torch.linspace(0, mask.shape[-1] - 1, resolution, dtype=torch.float64)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([x, y], dim=-1), mask[y.round().long(), x.round().long()]


def laplacian_blend(below: Tensor, above: Tensor, mask: Tensor) -> Tensor:
    """Pictures (N, C, S, S) blended level by level, `above` where the mask (N, 1, S, S) is: the preset `light`.

    Three levels, each the difference of two blurs, the last a blur; the blurs' sigma is 0.5 and 1 pixel.
    """
    stacks = [_blurred(maps) for maps in (below, above, mask)]
    blended = torch.zeros_like(below)
    for level in range(_LEVELS):
        last = level == _LEVELS - 1
        first, second = (stack[level] - (0 if last else stack[level + 1]) for stack in stacks[:2])
        blended = blended + stacks[2][level] * second + (1 - stacks[2][level]) * first
    return blended


def _blurred(maps: Tensor) -> list[Tensor]:
    stack = [maps]
    for level in range(_LEVELS - 1):
        sigma = _FIRST_SIGMA * 2**level
        offsets = torch.arange(_BLUR_PX, dtype=maps.dtype) - _BLUR_PX // 2
        taps = torch.exp(-offsets.square() / (2 * sigma**2))
        taps = (taps / taps.sum()).view(1, 1, 1, -1).expand(maps.shape[1], -1, -1, -1)
        wide = pad(stack[-1], [_BLUR_PX // 2] * 4, mode="replicate")
        rows = conv2d(wide, taps, groups=maps.shape[1])
        stack.append(conv2d(rows, taps.transpose(2, 3), groups=maps.shape[1]))
    return stack
