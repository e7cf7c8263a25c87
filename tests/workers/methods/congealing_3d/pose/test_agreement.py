import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.methods.congealing_3d.pose.agreement import agreeing_choice

POINTS, RIGHT = 120, torch.tensor([0, 1, 0, 1, 0])


def evidence(count: int = 5) -> tuple[Tensor, Tensor]:
    """What images show on the surface at two poses: at the right one what it is like, at the other disorder."""
    generator = torch.Generator().manual_seed(0)
    true = normalize(torch.randn(POINTS, 16, generator=generator), dim=1)
    lifted = normalize(torch.randn(count, 2, POINTS, 16, generator=generator), dim=-1)
    lifted[torch.arange(count), RIGHT[:count]] = true
    return lifted, torch.ones(count, 2, POINTS, dtype=torch.bool)


def own_scores(count: int = 5) -> Tensor:
    """All but the last prefer their right pose a little."""
    scores = torch.full((count, 2), 1.0)
    scores[torch.arange(count), RIGHT[:count]] = 1.05
    scores[-1] = 2.05 - scores[-1]
    return scores


def test_the_others_bring_an_image_to_its_senses() -> None:
    lifted, visible = evidence()
    choice, together = agreeing_choice(lifted, visible, own_scores())
    assert torch.equal(own_scores().argmax(dim=1)[:4], RIGHT[:4])
    assert own_scores().argmax(dim=1)[4] != RIGHT[4]
    assert torch.equal(choice, RIGHT)
    assert torch.equal(together.argmax(dim=1), RIGHT)


def test_likeness_without_weight_changes_nothing() -> None:
    lifted, visible = evidence()
    choice, together = agreeing_choice(lifted, visible, own_scores(), weight=0.0)
    assert torch.equal(choice, own_scores().argmax(dim=1))
    assert torch.equal(together, own_scores())


def test_two_images_or_one_cannot_outvote_each_other() -> None:
    for count in (1, 2):
        lifted, visible = evidence(count)
        choice, together = agreeing_choice(lifted, visible, own_scores(count))
        assert torch.equal(together, own_scores(count))
        assert torch.equal(choice, own_scores(count).argmax(dim=1))


def test_a_few_shared_points_say_nothing() -> None:
    lifted, visible = evidence()
    visible[..., 20:] = False
    _, together = agreeing_choice(lifted * visible.unsqueeze(-1), visible, own_scores())
    assert torch.equal(together, own_scores())


def test_poses_that_do_not_exist_are_never_chosen() -> None:
    lifted, visible = evidence()
    scores = own_scores()
    scores[4, RIGHT[4]] = -torch.inf
    choice, together = agreeing_choice(lifted, visible, scores)
    assert choice[4] != RIGHT[4]
    assert together[4, RIGHT[4]] == -torch.inf
