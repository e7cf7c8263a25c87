"""K-means over the descriptors of a set of images, with the number of clusters found by the elbow rule.

After the co-segmentation of "Deep ViT Features as Dense Visual Descriptors" (Amir et al., arXiv 2112.05814). Features
are taken as directions: everything here works on their unit vectors. The result depends on the seed and on the set
alone, not on the order of its images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import normalize

from workers.backbones.base import Tick, no_tick

MAX_CLUSTERS = 14
ELBOW = 0.975
RESTARTS = 10
ITERATIONS = 300
POINTS_PER_CLUSTER = 256
"""More training points than this many a cluster change little; k-means draws so many of them."""
MIN_SAMPLES = 32
"""Training points per image that coarse maps give, however long the steps."""

Float32 = npt.NDArray[np.float32]
Maps = Tensor | Sequence[Tensor]
"""Features (N, C, h, w), in one piece or image by image."""


@dataclass(frozen=True)
class Clusters:
    """Descriptors grouped by k-means.

    Attributes:
        centroids: (K, C) means of unit vectors, themselves not of unit length.
        labels: (N, h, w) int64, the nearest centroid of every cell.
        distance: mean squared distance of all cells from their centroid.
    """

    centroids: Tensor
    labels: Tensor
    distance: float

    @property
    def count(self) -> int:
        """Number of clusters K."""
        return len(self.centroids)


def elbow_clusters(
    features: Maps,
    *,
    every: int = 100,
    strided: bool = False,
    valid: Tensor | None = None,
    most: int = MAX_CLUSTERS,
    elbow: float = ELBOW,
    seed: int = 0,
    tick: Tick = no_tick,
) -> Clusters:
    """Cluster with k = 1, 2, ... until one more cluster hardly helps.

    Stops at the first k whose mean squared distance exceeds `elbow` times that of k - 1, and keeps that k.

    Args:
        features: (N, C, h, w).
        every: train on one in so many cells of each image.
        strided: on every n-th exactly, see `training_samples`.
        valid: (N, h, w) bool, the cells to train on and to measure; all when None.
        most: largest k.
        tick: called many times.
    """
    samples = training_samples(features, every=every, strided=strided, valid=valid, seed=seed)
    most = min(most, max(1, distinct_rows(samples)))
    best = assign(features, k_means(samples, 1, seed=seed, tick=tick), valid=valid)
    for count in range(2, most + 1):
        previous, best = best, assign(features, k_means(samples, count, seed=seed, tick=tick), valid=valid)
        if best.distance > elbow * previous.distance:
            break
    return best


def training_samples(
    features: Maps, *, every: int, strided: bool = False, valid: Tensor | None = None, seed: int = 0
) -> Float32:
    """Unit vectors (M, C) of one in `every` valid cells of each image, in an order that only their values decide.

    With `strided` these are every n-th cell, as the official code has it. Where n and the map's width share factors
    those lie in few columns; otherwise one of each n cells in a row is drawn, and coarse maps give at least 32.
    """
    drawn = []
    for index, maps in enumerate(features):
        cells = maps.flatten(1)
        chosen = torch.arange(cells.shape[1], device=maps.device)
        if valid is not None:
            chosen = chosen[valid[index].flatten()]
        step = every if strided else max(1, min(every, len(chosen) // MIN_SAMPLES))
        starts = np.arange(0, len(chosen), step)
        shifts = 0 if strided else np.random.default_rng(seed).integers(np.minimum(step, len(chosen) - starts))
        places = torch.from_numpy(starts + shifts).to(maps.device)
        drawn.append(normalize(cells[:, chosen[places]].T.float(), dim=1))
    return _sorted_rows(torch.cat(drawn).cpu().numpy())


def k_means(samples: Float32, count: int, *, seed: int, tick: Tick = no_tick) -> Float32:
    """Centroids (count, C) of points (M, C), Euclidean; the best of ten starts.

    One thread: scikit-learn adds up its threads' shares in the order in which they end, which changes the last bits.
    """
    generator = np.random.default_rng(seed)
    rows = generator.permutation(len(samples))[: POINTS_PER_CLUSTER * count]
    starts = [int(start) for start in generator.integers(2**31, size=RESTARTS)]
    points = samples[np.sort(rows)]

    def fitted(start: int) -> tuple[float, Float32]:
        tick()
        model = KMeans(count, n_init=1, max_iter=ITERATIONS, tol=0.0, random_state=start)
        with threadpool_limits(limits=1):
            model.fit(points)
        return float(model.inertia_), np.asarray(model.cluster_centers_, dtype=np.float32)

    return min((fitted(start) for start in starts), key=lambda found: found[0])[1]


def assign(features: Maps, centroids: Float32 | Tensor, *, valid: Tensor | None = None) -> Clusters:
    """Give every cell of features (N, C, h, w) to the nearest of the centroids (K, C); image by image."""
    means = torch.as_tensor(centroids, dtype=torch.float32, device=features[0].device)
    labels, total, counted = [], 0.0, 0
    for index, maps in enumerate(features):
        nearest, label = squared_distances(maps, means).min(dim=0)
        labels.append(label)
        measured = nearest if valid is None else nearest[valid[index]]
        total += float(measured.double().sum())
        counted += measured.numel()
    return Clusters(means, torch.stack(labels), total / max(counted, 1))


def squared_distances(maps: Tensor, centroids: Tensor) -> Tensor:
    """Squared distances (K, h, w) of the unit vectors of one image's features (C, h, w) from centroids (K, C)."""
    units = normalize(maps.float(), dim=0)
    products = torch.einsum("kc,chw->khw", centroids, units)
    own = units.square().sum(dim=0) + centroids.square().sum(dim=1).view(-1, 1, 1)
    return (own - 2 * products).clamp(min=0)


def distinct_rows(rows: Float32) -> int:
    """Count the different ones among sorted points (M, C)."""
    return int((rows[1:] != rows[:-1]).any(axis=1).sum()) + min(len(rows), 1)


def _sorted_rows(rows: Float32) -> Float32:
    """Sort by the rows' bytes: any fixed order will do, and this one is fast."""
    contiguous = np.ascontiguousarray(rows + np.float32(0))
    keys = contiguous.view(np.dtype((np.void, contiguous.dtype.itemsize * contiguous.shape[1]))).ravel()
    return contiguous[np.argsort(keys, kind="stable")]
