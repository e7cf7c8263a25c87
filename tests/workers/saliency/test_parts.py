import pytest
import torch

from tests.workers.saliency.planted import planted
from workers.saliency.dense_crf import CrfOptions
from workers.saliency.parts import BACKGROUND, PartOptions, co_segmented_parts, part_energies

QUICK = PartOptions(parts=2, crf=CrfOptions(steps=2))
NO_VIEWS = torch.zeros(0)


def test_parts_lie_on_the_object_and_are_the_same_in_all_images() -> None:
    drawn = planted(3)
    found = co_segmented_parts(drawn.features, drawn.features.flip(-1), drawn.truth, drawn.images, QUICK)
    cells = found.labels[:, 2::4, 2::4]
    assert ((cells != BACKGROUND) == (drawn.truth[:, 0] > 0)).float().mean() > 0.99
    truth = drawn.features[:, 1] > 0.5
    for part in range(2):
        shares = [truth[image][cells[image] == part].float().mean() for image in range(3)]
        assert min(shares) > 0.95 or max(shares) < 0.05


def test_the_same_seed_gives_the_same_labels() -> None:
    drawn = planted(2)
    first, second = (
        co_segmented_parts(drawn.features, NO_VIEWS, drawn.truth, drawn.images, QUICK, seed=4) for _ in range(2)
    )
    assert torch.equal(first.labels, second.labels)


def test_without_foreground_there_are_no_parts() -> None:
    drawn = planted(2)
    found = co_segmented_parts(drawn.features, NO_VIEWS, torch.zeros_like(drawn.truth), drawn.images, QUICK)
    assert found.count == 0
    assert (found.labels == BACKGROUND).all()


@pytest.mark.parametrize("level", [1.0, 0.4])
def test_clusters_that_are_all_foreground_do_no_harm(level: float) -> None:
    drawn = planted(2)
    masks = torch.full_like(drawn.truth, level)
    found = co_segmented_parts(drawn.features, NO_VIEWS, masks, drawn.images, QUICK)
    assert found.count == 2
    assert found.labels.max() <= 1
    assert (found.labels >= 0).all() == (level == 1.0)


def test_flat_features_make_one_part() -> None:
    drawn = planted(2)
    found = co_segmented_parts(torch.ones_like(drawn.features), NO_VIEWS, drawn.truth, drawn.images, QUICK)
    assert found.count == 1


def test_energies_are_distances_below_the_farthest() -> None:
    maps = torch.tensor([3.0, 0.0]).view(2, 1, 1)
    parts, behind = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[-1.0, 0.0], [0.6, 0.0]])
    torch.testing.assert_close(part_energies(maps, parts, behind).flatten(), torch.tensor([0.0, 2.0, 0.16]) - 2)
    alone = part_energies(maps, parts, behind[:0]).flatten()
    torch.testing.assert_close(alone, torch.tensor([-4.0, -2.0, 0.0]))
