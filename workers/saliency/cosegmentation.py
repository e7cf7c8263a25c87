"""Foreground of a set of images: clusters of features that a saliency prior points at in most of the images.

After "Deep ViT Features as Dense Visual Descriptors" (Amir et al., arXiv 2112.05814) as used by Neural Congealing
(arXiv 2302.03956). The official rule is all or nothing: a piece of background that shares a cluster with the object
counts as object in every image. The default form is softer. It cuts the set into more clusters, compares saliency with
each image's own mean instead of a fixed level, which suits any backbone's attention, and asks three things of a cell:
that its cluster is salient in many images, that it is salient in this one, and that the cell itself is. The scores
of three clusterings are averaged, because a single one now and then joins background to the object.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from workers.backbones.base import Tick, no_tick
from workers.saliency.clustering import Clusters, assign, distinct_rows, elbow_clusters, k_means, training_samples
from workers.saliency.grabcut import grabcut
from workers.saliency.votes import THRESHOLD, cluster_means, count_votes, votes_needed

_OFFICIAL_EVERY = 100
_EVERY = 20
_TEMPERATURE = 0.1
_ROUNDS = 3
_FOREGROUND_SCORE = 1 / 3
_MARGIN = 1e-6
_HALF = 0.5


@dataclass(frozen=True)
class CoSegmentationOptions:
    """How foreground is told from background."""

    compat: bool = False
    """The official rule and sampling: elbow clusters, fixed threshold, whole votes, GrabCut on any mask."""
    refine: bool = True
    """Fit the masks to the pictures' edges by GrabCut."""
    clusters: int = 24
    """Clusters of the default form."""
    threshold: float = THRESHOLD
    """Official form: mean saliency that makes an image vote for a cluster."""
    vote_share: float = 0.80
    """Official form: share of the images whose votes make a cluster salient."""


@dataclass(frozen=True)
class CoSegmentation:
    """Foreground of a set.

    Attributes:
        masks: (N, 1, h, w) in [0, 1], share of each feature cell that is foreground.
        image_masks: (N, H, W) bool, on the pixels of the images.
        clusters: of the set's features.
        votes: (K,) images in which the cluster is salient.
    """

    masks: Tensor
    image_masks: Tensor
    clusters: Clusters
    votes: Tensor

    @property
    def labels(self) -> Tensor:
        """Cluster (N, h, w) of every cell."""
        return self.clusters.labels

    @property
    def found(self) -> Tensor:
        """Images (N,) in which there is any foreground."""
        return self.image_masks.flatten(1).any(dim=1)


def cosegment(
    features: Tensor,
    prior: Tensor,
    images: Tensor,
    options: CoSegmentationOptions | None = None,
    *,
    valid: Tensor | None = None,
    seed: int = 0,
    tick: Tick = no_tick,
) -> CoSegmentation:
    """Find what a set of images has in the foreground.

    The order of the images does not matter. Where nothing stands out, as with constant features or a constant prior,
    masks are 0.

    Args:
        features: (N, C, h, w).
        prior: (N, 1, h', w') saliency, each image's stretched to [0, 1]; the class token's attention of a transformer.
        images: (N, 3, H, W) RGB in [0, 1].
        valid: (N, 1, h, w) in [0, 1], share of each cell that the picture covers; the rest of the frame takes no part.

    Raises:
        ValueError: shapes do not belong together, values are not finite, or no cell is valid.
    """
    options = options or CoSegmentationOptions()
    _check(features, prior, images, valid)
    covered = torch.ones_like(features[:, :1]) if valid is None else valid.to(features)
    inside = covered[:, 0] >= _HALF
    if not bool(inside.any()):
        raise ValueError("no cell of the features lies on a picture; describe the pictures with more cells")
    find = _official_scores if options.compat else _soft_scores
    clusters, votes, scores = find(features, prior, inside, options, seed, tick)
    scores = scores.unsqueeze(1) * inside.unsqueeze(1)
    pixels = _binary(scores, images, smooth=not options.compat)
    if options.refine:
        pixels = _refined(pixels, images, seed, tick, guarded=not options.compat)
        scores = adaptive_avg_pool2d(pixels.unsqueeze(1).float(), (features.shape[-2], features.shape[-1])) * covered
    return CoSegmentation(scores, pixels, clusters, votes)


def _official_scores(
    features: Tensor, prior: Tensor, inside: Tensor, options: CoSegmentationOptions, seed: int, tick: Tick
) -> tuple[Clusters, Tensor, Tensor]:
    """Clusters, votes (K,), and 1 in cells (N, h, w) of clusters that enough images vote for."""
    clusters = elbow_clusters(features, every=_OFFICIAL_EVERY, strided=True, valid=inside, seed=seed, tick=tick)
    saliency = interpolate(prior.float(), (features.shape[-2], features.shape[-1]), mode="nearest-exact")[:, 0]
    means = cluster_means(clusters.labels, saliency, clusters.count, weights=inside)
    votes = count_votes(means, options.threshold)
    salient = votes >= votes_needed(len(features), options.vote_share)
    return clusters, votes, salient[clusters.labels].float()


def _soft_scores(
    features: Tensor, prior: Tensor, inside: Tensor, options: CoSegmentationOptions, seed: int, tick: Tick
) -> tuple[Clusters, Tensor, Tensor]:
    """Clusters, votes (K,), and scores (N, h, w) in [0, 1], above one half in the foreground."""
    saliency = interpolate(prior.float(), (features.shape[-2], features.shape[-1]), mode="bilinear", antialias=True)
    excess = saliency[:, 0] - _means(saliency[:, 0], inside).view(-1, 1, 1)
    rounds = [_soft_round(features, excess, inside, options.clusters, seed * _ROUNDS + r, tick) for r in range(_ROUNDS)]
    clusters, votes, _ = rounds[0]
    return clusters, votes, torch.stack([scores for _, _, scores in rounds]).mean(dim=0)


def _soft_round(
    features: Tensor, excess: Tensor, inside: Tensor, count: int, seed: int, tick: Tick
) -> tuple[Clusters, Tensor, Tensor]:
    """Clusters, votes and scores of one clustering; `excess` (N, h, w) is the saliency above each image's mean."""
    samples = training_samples(features, every=_EVERY, valid=inside, seed=seed)
    clusters = assign(features, k_means(samples, min(count, distinct_rows(samples)), seed=seed, tick=tick))
    means = cluster_means(clusters.labels, excess, clusters.count, weights=inside)
    raised = (means > _MARGIN).float()
    scores = (
        vote_ratios(means)[clusters.labels] * torch.sigmoid(excess / _TEMPERATURE) * _spread(raised, clusters.labels)
    )
    return clusters, count_votes(means, _MARGIN), (scores * (_HALF / _FOREGROUND_SCORE)).clamp(max=1)


def vote_ratios(means: Tensor) -> Tensor:
    """Soft vote (K,) in [0, 1] of the images that have a cluster.

    Counts at least half the set, so that what only few images show is no foreground, however salient.

    Args:
        means: (N, K) by how much each cluster's saliency exceeds the image's mean; NaN where absent.
    """
    ballots = torch.sigmoid(means / _TEMPERATURE).nan_to_num(nan=0.0)
    present = (~means.isnan()).sum(dim=0).clamp(min=len(means) / 2)
    return (ballots.sum(dim=0) / present).float()


def _means(values: Tensor, inside: Tensor) -> Tensor:
    """Means (N,) of values (N, h, w) over the cells that are inside."""
    weights = inside.double().flatten(1)
    return ((values.flatten(1) * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)).float()


def _spread(values: Tensor, labels: Tensor) -> Tensor:
    """Values (N, K) of each image's clusters on the cells (N, h, w) of the clusters."""
    return values.gather(1, labels.flatten(1)).view(labels.shape)


def _binary(scores: Tensor, images: Tensor, *, smooth: bool) -> Tensor:
    """Pixels (N, H, W) whose score (N, 1, h, w) exceeds one half."""
    mode = "bilinear" if smooth else "nearest-exact"
    return interpolate(scores, (images.shape[-2], images.shape[-1]), mode=mode)[:, 0] > _HALF


def _refined(masks: Tensor, images: Tensor, seed: int, tick: Tick, *, guarded: bool) -> Tensor:
    refined = []
    for mask, image in zip(masks, images, strict=True):
        refined.append(torch.from_numpy(grabcut(_bytes(image), mask.cpu().numpy(), guarded=guarded, seed=seed)))
        tick()
    return torch.stack(refined).to(masks.device)


def _bytes(image: Tensor) -> npt.NDArray[np.uint8]:
    rgb: npt.NDArray[np.uint8] = (image * 255).round().clamp(0, 255).byte().permute(1, 2, 0).contiguous().cpu().numpy()
    return rgb


def _check(features: Tensor, prior: Tensor, images: Tensor, valid: Tensor | None) -> None:
    if features.ndim != 4 or len(features) == 0:
        raise ValueError(f"features have shape {tuple(features.shape)}; give (N, C, h, w) of at least one image")
    for name, maps, channels in (("prior", prior, 1), ("images", images, 3)):
        if maps.ndim != 4 or maps.shape[:2] != (len(features), channels):
            wanted = f"({len(features)}, {channels}, rows, columns)"
            raise ValueError(f"{name}: shape {tuple(maps.shape)} does not belong to the features; give {wanted}")
    if valid is not None and valid.shape != features[:, :1].shape:
        raise ValueError(f"valid: shape {tuple(valid.shape)}; give {tuple(features[:, :1].shape)}, one value per cell")
    for name, maps in (("features", features), ("prior", prior), ("images", images)):
        if not bool(torch.isfinite(maps).all()):
            raise ValueError(f"{name}: some values are not finite; look at the backbone and its precision")
