"""How the official code of Telling Left from Right (arXiv 2311.17034) trains, written plainly, to compare ours with.

One pair of pictures at a time, four passes of the network, features brought to one grid first, and the similarity of
all cells of both pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, group_norm, interpolate, normalize

from workers.matching.soft_argmax import Softness, expected_cells

_NORM_EPSILON = 1e-5


def stacked(blocks: Sequence[Tensor], cells: int) -> Tensor:
    """Blocks (N, C_l, h_l, w_l) on one grid, behind each other: (N, sum of C_l, cells, cells)."""
    return torch.cat([interpolate(block, (cells, cells), mode="bilinear") for block in blocks], dim=1)


def aggregated(weights: dict[str, Tensor], stack: Tensor, channels: Sequence[int], *, groups: int) -> Tensor:
    """The network on a stack (N, sum of channels, g, g), by its weights under the official names; (N, width, g, g)."""
    total = torch.zeros(())
    shares = torch.softmax(weights["mixing_weights"], dim=0)
    for number, block in enumerate(torch.split(stack, list(channels), dim=1)):
        total = total + shares[number] * _bottleneck(weights, f"bottleneck_layers.{number}.0", block, groups)
    return total


def flow(source: Tensor, target: Tensor, softness: Softness) -> Tensor:
    """Where every cell of a map (C, g, g) goes in another: (g, g, 2) (x, y), in cells, relative to itself."""
    cells = source.shape[1]
    similarity = source.flatten(1).T @ target.flatten(1)
    found = expected_cells(similarity.view(-1, cells, cells), softness).view(cells, cells, 2)
    y, x = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    return found - torch.stack([x, y], dim=2)


def end_point_error(flows: Tensor, rows: Tensor, wanted: Tensor) -> Tensor:
    """Mean distance of flows (g, g, 2) at some cells (K,), counted row by row, from those wanted (K, 2)."""
    errors: Tensor = (flows.flatten(0, 1)[rows] - wanted).norm(dim=1)
    return errors.mean()


def contrast(source: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """CLIP's loss of descriptors (K, C), unit vectors, against each other."""
    logits = scale * source @ target.T
    labels = torch.arange(len(source))
    return (cross_entropy(logits, labels) + cross_entropy(logits.T, labels)) / 2


@dataclass(frozen=True)
class Seen:
    """A picture or a mirrored one.

    Attributes:
        map: (C, g, g), a unit vector each cell.
        points: (K, 2) in cells, continuous.
        visible: (K,).
        side: the longer side of the object's box in cells.
    """

    map: Tensor
    points: Tensor
    visible: Tensor
    side: float

    def rows(self, counted: Tensor) -> Tensor:
        """Cells of some keypoints, counted row by row."""
        cells = self.map.shape[1]
        column, row = self.points[counted].floor().long().clamp(0, cells - 1).unbind(dim=1)
        return row * cells + column

    def descriptors(self, counted: Tensor) -> Tensor:
        """Of some keypoints."""
        return self.map.flatten(1).T[self.rows(counted)]


def mirrored(points: Tensor, visible: Tensor, becomes: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """Keypoints (K, 2) of the mirrored picture, each where its partner was seen, and whether it was (K,)."""
    flipped = torch.stack([cells - points[:, 0], points[:, 1]], dim=1)
    return flipped[becomes], visible[becomes]


def pair_loss(
    source: Seen,
    target: Seen,
    mirrored_source: Seen,
    mirrored_target: Seen,
    *,
    weights: tuple[float, float, float],
    scale: Tensor,
    noise: Tensor,
    temperature: float = 0.02,
) -> Tensor:
    """The whole loss of a pair.

    Args:
        source: carries the keypoints.
        target: where they are looked for.
        mirrored_source: as extracted from the mirrored picture.
        mirrored_target: likewise.
        weights: of both mirrored, mirrored source to source, and mirrored source to target.
        scale: of the cosines in the contrast.
        noise: (4, K, 2) of the places to be found, in cells.
        temperature: of the soft-argmax.
    """
    kinds = [
        (1.0, source, target),
        (weights[0], mirrored_source, mirrored_target),
        (weights[1], mirrored_source, source),
        (weights[2], mirrored_source, target),
    ]
    total, whole = torch.zeros(()), 0.0
    for number, (weight, first, second) in enumerate(kinds):
        both = first.visible & second.visible
        if weight == 0 or not bool(both.any()):
            continue
        flows = flow(first.map, second.map, Softness(temperature=temperature))
        wanted = second.points - first.points + noise[number]
        loss = end_point_error(flows, first.rows(both), wanted[both])
        if number == 0:
            loss = loss + contrast(first.descriptors(both), second.descriptors(both), scale)
        total, whole = total + weight * loss, whole + weight
    return total / whole


def _bottleneck(weights: dict[str, Tensor], name: str, block: Tensor, groups: int) -> Tensor:
    def normed(part: str, x: Tensor, padding: int = 0) -> Tensor:
        at = f"{name}.{part}"
        x = conv2d(x, weights[f"{at}.weight"], padding=padding)
        return group_norm(x, groups, weights[f"{at}.norm.weight"], weights[f"{at}.norm.bias"], _NORM_EPSILON)

    inner = torch.relu(normed("conv1", block))
    inner = torch.relu(normed("conv2", inner, padding=1))
    kept = normed("shortcut", block) if f"{name}.shortcut.weight" in weights else block
    return torch.relu(normed("conv3", inner) + kept)


def described(features: Tensor) -> Tensor:
    """Features (N, C, g, g), a unit vector each cell."""
    return normalize(features, dim=1, eps=1e-10)
