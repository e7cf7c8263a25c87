"""What the network mode minimises: the losses of Neural Congealing (arXiv 2302.03956, sections 3.2 and 3.3).

All are over a batch of B images on an atlas of R x R cells. Saliency and area within the picture, where they weigh
other losses, are constants. Where nothing of a batch lies within its picture, its ratios are 0, not 0 / 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.geometry.coordinates import identity_grid
from workers.methods.neural_congealing.losses import huber
from workers.methods.neural_congealing.network.distances import feature_distances
from workers.methods.neural_congealing.network.options import LossWeights

_L0_STEEPNESS, _L0_SHARE = 5.0, 0.5
_RIGIDITY_FLOOR = 1e-3
_MIN_TOTAL = 1e-6
_MIN_NORM = 1e-20


@dataclass(frozen=True)
class AtlasView:
    """The atlas: keys (C, R, R) and saliency (R, R) in (0, 1)."""

    keys: Tensor
    saliency: Tensor

    def detached(self) -> AtlasView:
        """The same without gradient."""
        return AtlasView(self.keys.detach(), self.saliency.detach())


@dataclass(frozen=True)
class Seen:
    """What maps read in the pictures: keys (B, C, R, R), masks (B, R, R), share within the picture (B, R, R)."""

    keys: Tensor
    masks: Tensor
    inside: Tensor


@dataclass(frozen=True)
class FlowView:
    """What the flow's training needs besides.

    Attributes:
        flow: (B, R, R, 2) residual flow.
        grid: (B, R, R, 2) the whole map.
        similarity: what the similarities alone read.
        span: cells between which global rigidity is measured.
    """

    flow: Tensor
    grid: Tensor
    similarity: Seen
    span: int


Terms = dict[str, Tensor]


def objective(
    atlas: AtlasView,
    seen: Seen,
    scales: Tensor,
    weights: LossWeights,
    *,
    reach: Tensor | None,
    flow: FlowView | None = None,
) -> Terms:
    """All losses by name, weighted; their sum is what training minimises.

    Args:
        atlas: the atlas.
        seen: by the whole maps, or by the similarities while there is no flow.
        scales: (B,) of the similarities.
        weights: of the losses.
        reach: (B,) bool, the images that shape the atlas; None trains the maps only.
        flow: None while similarities are trained alone.
    """
    shaping = torch.zeros(len(scales), dtype=torch.bool, device=scales.device) if reach is None else reach
    terms = agreement(atlas, seen, weights, shaping)
    terms["scale"] = weights.scale * (1 - scales).square().mean()
    if reach is not None:
        any_reach = reach.any().to(scales)
        terms |= {name: any_reach * term for name, term in atlas_terms(atlas, seen.inside, weights).items()}
    if flow is not None:
        terms |= flow_terms(atlas.saliency.detach(), seen.inside, flow, weights)
        apart = agreement(atlas.detached(), flow.similarity, weights, torch.zeros_like(shaping))
        terms |= {f"similarity_{name}": term for name, term in apart.items()}
    return terms


def agreement(atlas: AtlasView, seen: Seen, weights: LossWeights, reach: Tensor) -> Terms:
    """Keys' squared difference and cosine distance on the salient cells, and the masks' difference."""
    mse, cosine = feature_distances(atlas.keys, seen.keys, reach)
    salient = atlas.saliency.detach() * seen.inside
    each = torch.where(reach.view(-1, 1, 1), atlas.saliency, atlas.saliency.detach())
    return {
        "keys_mse": weights.keys_mse * ratio(mse, salient),
        "keys_cosine": weights.keys_cosine * ratio(cosine, salient),
        "saliency": weights.saliency * ratio(huber(each - seen.masks), seen.inside),
    }


def image_distances(atlas: AtlasView, seen: Seen, weights: LossWeights) -> Tensor:
    """Weighted distance (B,) of each image's keys from the atlas on the salient cells within its picture."""
    none = torch.zeros(len(seen.keys), dtype=torch.bool, device=seen.keys.device)
    mse, cosine = feature_distances(atlas.keys, seen.keys, none)
    salient = atlas.saliency * seen.inside
    each = weights.keys_mse * mse + weights.keys_cosine * cosine
    return (salient * each).sum(dim=(1, 2)) / salient.sum(dim=(1, 2)).clamp(min=_MIN_TOTAL)


def atlas_terms(atlas: AtlasView, inside: Tensor, weights: LossWeights) -> Terms:
    """What keeps the atlas small, centred, and empty where it is not salient."""
    return {
        "sparsity": weights.sparsity * sparsity(atlas.saliency),
        "keys_l1": weights.keys_l1 * ratio(atlas.keys.abs().sum(dim=0), 1 - atlas.saliency.detach()),
        "centre": weights.centre * off_centre(atlas.saliency, inside),
    }


def flow_terms(saliency: Tensor, inside: Tensor, flow: FlowView, weights: LossWeights) -> Terms:
    """What keeps flows small and maps rigid."""
    return {
        "flow": weights.flow * ratio(flow.flow.square().sum(dim=-1), inside),
        "rigidity_local": weights.rigidity_local * rigidity(flow.grid, saliency * inside, span=1),
        "rigidity_global": weights.rigidity_global * rigidity(flow.grid, inside, span=flow.span),
    }


def ratio(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over everything; 0 where the weights are."""
    return (weights * values).sum() / weights.sum().clamp(min=_MIN_TOTAL)


def sparsity(saliency: Tensor) -> Tensor:
    """Mean saliency, and half of a smooth count of salient cells."""
    count = 2 * (torch.sigmoid(_L0_STEEPNESS * saliency) - 0.5)
    return saliency.mean() + _L0_SHARE * count.mean()


def off_centre(saliency: Tensor, inside: Tensor) -> Tensor:
    """Mean over the axes of the squared centroid, in [-1, 1], of the saliency that any image (B, R, R) shows."""
    mass = saliency * inside.amax(dim=0)
    cells = identity_grid(*saliency.shape, device=saliency.device)
    centroid = (mass.unsqueeze(-1) * cells).sum(dim=(0, 1)) / mass.sum().clamp(min=_MIN_TOTAL)
    return centroid.square().mean()


def rigidity(grid: Tensor, weights: Tensor, *, span: int) -> Tensor:
    """How far maps (B, R, R, 2) are from rigid between cells `span` apart, weighted by (B, R, R).

    |C| + |(C + 0.001 I)^-1| in Frobenius norms, with C = J^T J and J the differences over the span; at its least,
    2 sqrt(2) or so, where the map is an isometry (after Layered Neural Atlases, arXiv 2109.11418).
    """
    pixels = grid * (grid.shape[1] / 2)
    along_y = (pixels[:, span:, :-span] - pixels[:, :-span, :-span]) / span
    along_x = (pixels[:, :-span, span:] - pixels[:, :-span, :-span]) / span
    xx, yy, xy = along_x.square().sum(-1), along_y.square().sum(-1), (along_x * along_y).sum(-1)
    stretch = _frobenius(xx, yy, xy)
    xx, yy = xx + _RIGIDITY_FLOOR, yy + _RIGIDITY_FLOOR
    shrinkage = _frobenius(xx, yy, xy) / (xx * yy - xy.square())
    return ratio(stretch + shrinkage, weights[:, :-span, :-span])


def _frobenius(xx: Tensor, yy: Tensor, xy: Tensor) -> Tensor:
    """Norm of [[xx, xy], [xy, yy]]."""
    return (xx.square() + yy.square() + 2 * xy.square()).clamp(min=_MIN_NORM).sqrt()
