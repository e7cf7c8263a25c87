import torch

from workers.methods.congealing_3d.maps.distance import distance_map, mask_loss, semantic_distance, soft_jaccard


def features(seed: int) -> torch.Tensor:
    return torch.randn(2, 5, 4, 4, generator=torch.Generator().manual_seed(seed))


def masks(seed: int) -> torch.Tensor:
    return torch.rand(2, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def test_equal_features_are_no_distance_apart_whatever_their_length() -> None:
    torch.testing.assert_close(semantic_distance(features(0), 3 * features(0)), torch.zeros(2))
    torch.testing.assert_close(semantic_distance(features(0), -features(0)), torch.full((2,), 2.0))


def test_a_cell_without_features_is_at_distance_one() -> None:
    first = features(0)
    first[0, :, 1, 2] = 0
    assert distance_map(first, features(0))[0, 1, 2] == 1


def test_the_soft_jaccard_distance_of_equal_features_is_that_of_the_masks() -> None:
    found = soft_jaccard(features(0), features(0), first_mask=masks(1), second_mask=masks(2))
    torch.testing.assert_close(found, mask_loss(masks(1), masks(2)))


def test_empty_masks_have_nothing_in_common() -> None:
    empty = torch.zeros(2, 1, 4, 4)
    assert mask_loss(empty, empty).tolist() == [1, 1]
