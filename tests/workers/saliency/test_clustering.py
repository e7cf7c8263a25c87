import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor
from torch.nn.functional import normalize

from workers.saliency.clustering import (
    MIN_SAMPLES,
    assign,
    distinct_rows,
    elbow_clusters,
    k_means,
    squared_distances,
    training_samples,
)


def groups(count: int, *, images: int = 3, side: int = 24, noise: float = 0.02) -> tuple[Tensor, Tensor]:
    """Features (N, 16, side, side) of any length along `count` orthogonal directions, and which (N, side, side)."""
    generator = torch.Generator().manual_seed(count)
    truth = torch.randint(count, (images, side, side), generator=generator)
    lengths = 1 + torch.rand(truth.shape, generator=generator).unsqueeze(-1)
    features = lengths * torch.eye(16)[truth] + noise * torch.randn(images, side, side, 16, generator=generator)
    return features.permute(0, 3, 1, 2), truth


def test_the_elbow_keeps_the_first_count_that_hardly_helps() -> None:
    features, truth = groups(5)
    found = elbow_clusters(features, every=4)
    # Five groups are told apart by five clusters; a sixth splits noise.
    assert found.count == 6
    for label in range(found.count):
        assert len(truth[found.labels == label].unique()) == 1
    assert elbow_clusters(features, every=4, most=3).count == 3


def test_distance_is_the_mean_over_all_cells() -> None:
    features, _ = groups(3)
    found = elbow_clusters(features, every=4)
    units = normalize(features, dim=1).permute(0, 2, 3, 1).reshape(-1, 16)
    distances = torch.cdist(units, found.centroids).square()
    nearest, labels = distances.min(dim=1)
    assert found.distance == pytest.approx(float(nearest.mean()), rel=1e-3)
    assert torch.equal(found.labels.flatten(), labels)


def test_distances_of_one_image_match_brute_force() -> None:
    features, _ = groups(4)
    centroids = torch.randn(5, 16, generator=torch.Generator().manual_seed(1))
    units = normalize(features[0], dim=0)
    expected = (units.unsqueeze(0) - centroids.view(5, 16, 1, 1)).square().sum(dim=1)
    torch.testing.assert_close(squared_distances(features[0], centroids), expected, atol=1e-5, rtol=1e-5)


def test_the_order_of_images_does_not_matter() -> None:
    features, _ = groups(4, noise=0.3)
    order = torch.tensor([1, 2, 0])
    straight, shuffled = elbow_clusters(features), elbow_clusters(features[order])
    assert torch.equal(shuffled.labels, straight.labels[order])


def test_samples_skip_what_is_not_valid_and_never_run_out() -> None:
    features, _ = groups(4)
    valid = torch.zeros(3, 24, 24, dtype=torch.bool)
    valid[0, :2] = True
    samples = training_samples(features, every=100, valid=valid)
    assert len(samples) >= MIN_SAMPLES
    chosen = normalize(features[0, :, :2], dim=0).flatten(1).T
    assert torch.cdist(torch.from_numpy(samples), chosen).amin(dim=1).max() < 1e-3
    assert training_samples(features, every=100, valid=torch.zeros_like(valid)).shape == (0, 16)


def test_one_in_so_many_cells_is_drawn_all_over_the_map() -> None:
    features, _ = groups(4, images=2, side=64)
    assert len(training_samples(features, every=100)) == 2 * 41
    column = torch.arange(64.0).expand(1, 1, 64, 64)
    columns = training_samples(torch.cat([column, torch.full_like(column, 64)], dim=1), every=64)
    assert distinct_rows(columns) > 30
    assert distinct_rows(training_samples(torch.cat([column, column + 1], dim=1), every=64, strided=True)) == 1


def test_flat_features_are_one_cluster() -> None:
    found = elbow_clusters(torch.ones(2, 8, 12, 12))
    assert found.count == 1
    assert found.distance == pytest.approx(0, abs=1e-6)
    assert (found.labels == 0).all()


def test_k_means_reaches_what_a_plain_fit_reaches() -> None:
    features, _ = groups(4, noise=0.3)
    samples = training_samples(features, every=1)[:900]
    ours = assign(features, k_means(samples, 4, seed=0)).distance
    plain = KMeans(4, n_init=10, random_state=1).fit(samples)
    assert ours <= assign(features, plain.cluster_centers_.astype(np.float32)).distance * 1.01


def test_distinct_rows() -> None:
    assert distinct_rows(np.array([[0, 1], [0, 1], [1, 0]], dtype=np.float32)) == 2
    assert distinct_rows(np.zeros((0, 3), dtype=np.float32)) == 0
