import torch

from workers.matching.trust import confidence, passes_ratio, return_distance


def test_return_distance_counts_cells() -> None:
    back = torch.tensor([0, 0, 0, 3, 0, 2])
    expected = torch.tensor([0, 1, 2, 0, 2**0.5, 1])
    torch.testing.assert_close(return_distance(torch.arange(6), back, width=3), expected)


def test_confidence_falls_with_the_return_distance() -> None:
    alone, here = torch.full((4,), -1.0), torch.full((4,), 0.8)
    trust = confidence(here, alone, torch.tensor([0.0, 1.0, 2.0, 5.0]))
    torch.testing.assert_close(trust[0], torch.tensor(0.8))
    assert (trust.diff() < 0).all()
    assert (trust > 0).all()


def test_opposite_features_are_not_trusted() -> None:
    assert float(confidence(torch.tensor([-0.5]), torch.tensor([-1.0]), torch.zeros(1))) == 0


def test_a_tie_halves_the_confidence() -> None:
    similarity = torch.tensor([0.8])
    torch.testing.assert_close(confidence(similarity, similarity, torch.zeros(1)), 0.5 * similarity)


def test_ratio_compares_distances_and_refuses_ties() -> None:
    similarity = torch.tensor([0.9, 0.9, 1.0, 1.0, 0.5])
    rival = torch.tensor([0.7, 0.8, 1.0, 0.9, -1.0])
    assert passes_ratio(similarity, rival, 0.45).tolist() == [True, False, False, True, True]
    assert passes_ratio(similarity, rival, 1.0).tolist() == [True, True, False, True, True]
