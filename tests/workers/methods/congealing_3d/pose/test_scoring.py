import pytest
import torch
from torch.nn.functional import normalize

from tests.workers.methods.congealing_3d.photographs import cell_masks
from workers.methods.congealing_3d.pose.bank import Bank
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.pose.scoring import fit_scores, pair_scores


@pytest.mark.parametrize("masked", [True, False])
def test_all_at_once_score_as_each_pair_by_itself(bank: Bank, seen: Observations, masked: bool) -> None:
    masks = cell_masks(seen) if masked else None
    together = fit_scores(seen.features, masks, bank)
    assert together.shape == (6, 256)
    for candidate in (0, 127, 128, 255):
        views = (each[candidate : candidate + 1].expand(6, -1, -1, -1) for each in (bank.features, bank.masks))
        alone = pair_scores(seen.features, masks, *views)
        torch.testing.assert_close(together[:, candidate], alone, atol=1e-5, rtol=0)
    assert together.abs().max() <= 1


def test_a_view_fits_itself_best(bank: Bank) -> None:
    rows = torch.arange(0, 256, 37)
    scores = fit_scores(bank.features[rows], bank.masks[rows], bank)
    assert torch.equal(scores.argmax(dim=1), rows)
    hard = (bank.masks[rows] > 0).float()
    itself = pair_scores(bank.features[rows], hard, bank.features[rows], hard)
    torch.testing.assert_close(itself, torch.ones(len(rows)), atol=1e-4, rtol=0)


def test_masks_that_do_not_overlap_score_nothing() -> None:
    features = normalize(torch.rand(1, 8, 4, 4, generator=torch.Generator().manual_seed(0)), dim=1)
    left, right = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    left[..., :2], right[..., 2:] = 1, 1
    assert pair_scores(features, left, features, right).tolist() == [0]
    both = pair_scores(features, left, features, torch.ones(1, 1, 4, 4))
    assert both.tolist() == pytest.approx([0.5])
    empty = torch.zeros(1, 1, 4, 4)
    assert pair_scores(features, empty, features, empty).tolist() == [0]
    assert pair_scores(features, None, features, empty).tolist() == [0]
