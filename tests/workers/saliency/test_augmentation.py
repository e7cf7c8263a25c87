import torch
from torch import Tensor

from workers.saliency.augmentation import augmented_views

HEIGHT, WIDTH = 48, 64


def ramps() -> Tensor:
    """Images (2, 3, 48, 64) whose first channel is x and second y, in [0, 1]."""
    x = torch.linspace(0, 1, WIDTH).expand(HEIGHT, WIDTH)
    y = torch.linspace(0, 1, HEIGHT).unsqueeze(1).expand(HEIGHT, WIDTH)
    return torch.stack([x, y, torch.zeros_like(x)]).expand(2, -1, -1, -1)


def test_views_are_large_crops_and_mirrored_crops() -> None:
    views = augmented_views(ramps(), crops=20)
    assert views.shape == (80, 3, HEIGHT, WIDTH)
    across = views[:, 0, :, -1].mean(dim=1) - views[:, 0, :, 0].mean(dim=1)
    down = views[:, 1, -1].mean(dim=1) - views[:, 1, 0].mean(dim=1)
    assert (across[0::2] > 0).all()
    assert (across[1::2] < 0).all()
    area = across.abs() * down
    assert area.min() > 0.88
    assert area.max() <= 1 + 1e-6
    assert area.std() > 0.01


def test_views_depend_on_the_seed_alone() -> None:
    first = augmented_views(ramps(), crops=3, seed=1)
    assert torch.equal(first, augmented_views(ramps(), crops=3, seed=1))
    assert not torch.equal(first, augmented_views(ramps(), crops=3, seed=2))
    assert torch.equal(first[:6], augmented_views(ramps()[:1], crops=3, seed=1))
