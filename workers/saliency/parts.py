"""Parts of the foreground that all images share: clusters within the object, with edges fitted by a CRF.

The procedure of "Deep ViT Features as Dense Visual Descriptors" (Amir et al., arXiv 2112.05814) in the form that ASIC
(arXiv 2303.16201) uses: foreground masks take the place of attention, and mirrored views join the clustering, which
makes the parts alike on left and right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from workers.backbones.base import Tick, no_tick
from workers.saliency.clustering import (
    ELBOW,
    Clusters,
    distinct_rows,
    elbow_clusters,
    k_means,
    squared_distances,
    training_samples,
)
from workers.saliency.dense_crf import CrfOptions, dense_crf
from workers.saliency.votes import THRESHOLD, cluster_means, salient_clusters

BACKGROUND = -1
_FARTHEST = 4.0
"""Squared distance that two unit vectors cannot exceed."""


@dataclass(frozen=True)
class PartOptions:
    """The official settings of ASIC."""

    parts: int = 4
    every: int = 100
    """Clusters are trained on one in so many descriptors of an image."""
    elbow: float = ELBOW
    threshold: float = THRESHOLD
    """Mean of the foreground mask above which an image votes for a cluster."""
    vote_share: float = 0.20
    crf: CrfOptions = field(default_factory=CrfOptions)


@dataclass(frozen=True)
class Parts:
    """Part labels of a set.

    Attributes:
        labels: (N, H, W) int64 in 0..count - 1, and -1 on the background.
        count: number of parts found in the set, at most as many as asked for; 0 where no cluster is foreground.
        clusters: the first clustering, of whole images; labels (N, h, w) of the images without their views.
        centroids: (count, C) of the parts.
        background: (B, C) centroids of what is no part; may be empty.
    """

    labels: Tensor
    count: int
    clusters: Clusters
    centroids: Tensor
    background: Tensor


def co_segmented_parts(
    features: Tensor,
    views: Sequence[Tensor] | Tensor,
    masks: Tensor,
    images: Tensor,
    options: PartOptions | None = None,
    *,
    seed: int = 0,
    tick: Tick = no_tick,
) -> Parts:
    """Divide the foreground of a set into parts.

    Args:
        features: (N, C, h, w) of the images.
        views: (M, C, h, w) of augmented views of them, see `workers.saliency.augmentation`; M may be 0.
        masks: (N, 1, H', W') foreground in [0, 1].
        images: (N, 3, H, W) RGB in [0, 1].
    """
    options = options or PartOptions()
    count = len(features)
    pool = [*features, *views]
    stage = elbow_clusters(pool, every=options.every, elbow=options.elbow, seed=seed, tick=tick)
    cells = adaptive_avg_pool2d(masks.float(), (features.shape[-2], features.shape[-1]))[:, 0]
    means = cluster_means(stage.labels[:count], cells, stage.count)
    salient = salient_clusters(means, share=options.vote_share, threshold=options.threshold)
    clusters = Clusters(stage.centroids, stage.labels[:count], stage.distance)
    samples = training_samples(pool, every=options.every, valid=salient[stage.labels], seed=seed)
    found = min(options.parts, distinct_rows(samples))
    behind = stage.centroids[~salient] if not bool(salient.all()) else _background_mean(features, cells)
    if found == 0:
        labels = torch.full((count, *images.shape[-2:]), BACKGROUND, device=images.device)
        return Parts(labels, 0, clusters, features.new_zeros(0, features.shape[1]), behind)
    parts = torch.from_numpy(k_means(samples, found, seed=seed, tick=tick)).to(features.device)
    return Parts(part_labels(features, images, parts, behind, options.crf, tick=tick), found, clusters, parts, behind)


def part_labels(
    features: Tensor,
    images: Tensor,
    centroids: Tensor,
    background: Tensor,
    crf: CrfOptions | None = None,
    *,
    tick: Tick = no_tick,
) -> Tensor:
    """Labels (N, H, W) of images by the centroids of parts (K, C) and of the background (B, C); -1 is background.

    Args:
        features: (N, C, h, w) of the images.
        images: (N, 3, H, W) RGB in [0, 1].
    """
    labels = torch.full((len(features), *images.shape[-2:]), BACKGROUND, device=images.device)
    for index, maps in enumerate(features):
        energies = part_energies(maps, centroids, background)
        fitted = interpolate(energies.unsqueeze(0), images.shape[-2:], mode="nearest-exact")[0]
        best = dense_crf(fitted, images[index], crf or CrfOptions(), tick=tick).argmax(dim=0)
        labels[index] = torch.where(best == len(centroids), BACKGROUND, best)
    return labels


def part_energies(maps: Tensor, parts: Tensor, background: Tensor) -> Tensor:
    """Energies (K + 1, h, w) <= 0 of one image's features (C, h, w): each part's, then the background's.

    Args:
        parts: (K, C) centroids.
        background: (B, C) centroids of which the nearest counts; with none, nothing is background.
    """
    distances = squared_distances(maps, parts)
    if len(background):
        behind = squared_distances(maps, background).amin(dim=0, keepdim=True)
    else:
        behind = torch.full_like(distances[:1], _FARTHEST)
    every = torch.cat([distances, behind])
    return every - every.amax(dim=0, keepdim=True)


def _background_mean(features: Tensor, masks: Tensor) -> Tensor:
    """Where every cluster is foreground, the mean (1, C) of what the masks (N, h, w) leave out; (0, C) if nothing."""
    total = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    counted = 0
    for maps, mask in zip(features, masks, strict=True):
        outside = mask < 0.5
        total += normalize(maps.float(), dim=0)[:, outside].double().sum(dim=1)
        counted += int(outside.sum())
    return (total / max(counted, 1)).float().unsqueeze(0)[: min(counted, 1)]
