import torch

from workers.saliency.votes import cluster_means


def test_cells_without_weight_do_not_count() -> None:
    labels = torch.tensor([[[0, 0, 1, 1]]])
    saliency = torch.tensor([[[0.2, 0.8, 1.0, 0.0]]])
    weights = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])
    means = cluster_means(labels, saliency, 3, weights=weights)
    torch.testing.assert_close(means[0, 0], torch.tensor(0.2, dtype=torch.float64), atol=1e-7, rtol=0)
    assert means[0, 1:].isnan().all()
