import torch
from torch.nn.functional import normalize

from workers.saliency.consensus import consensus_saliency, interior, mean_pair_agreement

SIZE = 16


def random_units(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(count, 24, SIZE * SIZE, generator=generator), dim=1)


def test_agreement_is_the_mean_over_pairs() -> None:
    features = random_units(4)
    weights = torch.rand(4, SIZE * SIZE, generator=torch.Generator().manual_seed(1))
    total, share = torch.zeros(SIZE * SIZE), torch.zeros(SIZE * SIZE)
    for i in range(4):
        for j in range(4):
            if i != j:
                both = weights[i] * weights[j]
                total += both * (features[i] * features[j]).sum(dim=0)
                share += both
    torch.testing.assert_close(mean_pair_agreement(features, weights), total / share, atol=1e-5, rtol=1e-4)


def test_cells_seen_by_one_image_only_do_not_agree() -> None:
    weights = torch.zeros(3, SIZE * SIZE)
    weights[1] = 1
    assert (mean_pair_agreement(random_units(3), weights) == 0).all()


def test_the_common_patch_stands_out() -> None:
    features = random_units(6).view(6, 24, SIZE, SIZE)
    features[:, :, 4:11, 5:12] = features[:1, :, 4:11, 5:12]
    saliency = consensus_saliency(features.flatten(2), torch.ones(6, SIZE * SIZE), SIZE).view(SIZE, SIZE)
    assert saliency[5:10, 6:11].min() > 0.9
    outside = saliency.clone()
    outside[3:12, 4:13] = 0
    assert outside.max() < 0.3


def test_interior_drops_a_rim_of_the_picture_and_of_the_frame() -> None:
    area = torch.zeros(1, 1, 12, 12)
    area[..., 3:9, :] = 1
    inner = interior(area, 2)
    expected = torch.zeros(1, 1, 12, 12)
    expected[..., 5:7, 2:10] = 1
    torch.testing.assert_close(inner, expected)
