import torch
from torch import Tensor

from workers.methods.sd_correspondence.patience import Patience


def fed(patience: Patience, losses: Tensor) -> list[list[int]]:
    """Show losses (steps, B) and tell who goes on after each step."""
    going = []
    for row in losses:
        patience.see(row)
        going.append(patience.patient())
    return going


def curves(steps: int = 60) -> Tensor:
    """Losses of one that falls, one that has stopped, and one that stops half-way."""
    step = torch.arange(steps, dtype=torch.float32)
    falling = 0.95**step
    level = torch.full((steps,), 0.5)
    stopping = (1 - 0.03 * step).clamp_min(0.4)
    return torch.stack([falling, level, stopping], dim=1)


def test_only_those_that_no_longer_fall_are_given_up() -> None:
    going = fed(Patience(3), curves())
    assert going[-1] == [0]
    ends = [next(step for step, items in enumerate(going) if item not in items) for item in (1, 2)]
    assert 10 <= ends[0] < ends[1]
    assert ends[1] > 20


def test_nobody_is_given_up_at_once() -> None:
    going = fed(Patience(1), torch.full((15, 1), 0.5))
    assert all(items == [0] for items in going)


def test_noise_of_the_crops_is_not_taken_for_an_end() -> None:
    noise = 0.05 * torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    falling = curves()[:, :1] + 0.2 + noise * curves()[:, :1]
    assert fed(Patience(3), falling)[:40] == [[0, 1, 2]] * 40


def test_those_that_took_no_part_stay_as_they_were() -> None:
    patience = Patience(2)
    losses = torch.stack([torch.full((40,), 0.5), torch.full((40,), torch.nan)], dim=1)
    assert fed(patience, losses)[-1] == [1]


def test_a_restored_one_goes_on_alike() -> None:
    whole, begun, resumed = Patience(3), Patience(3), Patience(3)
    expected = fed(whole, curves())
    fed(begun, curves()[:20])
    resumed.restore({name: tensor.clone() for name, tensor in begun.state().items()})
    assert fed(resumed, curves()[20:]) == expected[20:]
