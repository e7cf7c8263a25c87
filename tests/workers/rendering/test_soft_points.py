import torch
from torch import Tensor

from workers.geometry.cameras import Cameras, exponential, focal_of
from workers.methods.congealing_3d.maps.distance import mask_loss
from workers.rendering.soft_points import soft_point_mask, soft_point_mask_dense, softened

SIZE = 20


def cameras(count: int = 3) -> Cameras:
    turns = 0.4 * torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    translation = torch.tensor([[0.05, -0.1, 2.0]], dtype=torch.float64).expand(count, -1)
    return Cameras(exponential(turns), translation, focal_of(torch.full((count,), 40.0, dtype=torch.float64)))


def cloud(count: int = 60) -> Tensor:
    return 0.5 * torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def windows(count: int = 3) -> Tensor:
    return torch.tensor([[0.1, -0.05, 0.7]], dtype=torch.float64).expand(count, -1)


def test_masks_and_gradients_equal_the_dense_ones() -> None:
    weights = torch.randn(3, 1, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    found = []
    for draw in (soft_point_mask, soft_point_mask_dense):
        points, own = cloud().requires_grad_(), cameras()
        own.rotation.requires_grad_()
        own.focal.requires_grad_()
        mask = draw(points, own, windows(), SIZE)
        (mask * weights).sum().backward()
        found.append((mask.detach(), points.grad, own.rotation.grad, own.focal.grad))
    for sparse, dense in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense)
    assert found[0][0].min() < 0.01
    assert found[0][0].max() > 0.9


def test_what_lies_outside_or_behind_leaves_nothing() -> None:
    far = torch.tensor([[9.0, 0.0, 0.0], [0.0, -9.0, 0.0], [0.0, 0.0, -5.0], [0.3, 0.1, -2.5]], dtype=torch.float64)
    straight = Cameras(
        torch.eye(3, dtype=torch.float64)[None],
        torch.tensor([[0.0, 0.0, 2.0]], dtype=torch.float64),
        torch.ones(1, dtype=torch.float64),
    )
    points = far.requires_grad_()
    mask = soft_point_mask(points, straight, windows(1), SIZE)
    mask.sum().backward()
    assert mask.max() == 0
    assert points.grad is not None
    assert points.grad.isfinite().all()


def test_order_does_not_matter() -> None:
    own = cloud()
    torch.testing.assert_close(
        soft_point_mask(own, cameras(), windows(), SIZE), soft_point_mask(own.flip(0), cameras(), windows(), SIZE)
    )


def test_softened_masks_are_like_clouds_where_sharp_ones_are_not() -> None:
    size, radius = 48, 0.5
    generator = torch.Generator().manual_seed(0)
    angle, share = 2 * torch.pi * torch.rand(600, generator=generator), torch.rand(600, generator=generator)
    disc = torch.stack([angle.cos(), angle.sin()], dim=1) * radius * share.sqrt()[:, None]
    points = torch.cat([disc, torch.zeros(600, 1)], dim=1)
    camera = Cameras(torch.eye(3)[None], torch.tensor([[0.0, 0.0, 1.0]]), torch.ones(1))
    drawn = soft_point_mask(points, camera, torch.tensor([[0.0, 0.0, 1.0]]), size)
    axis = (2 * torch.arange(size) + 1) / size - 1
    sharp = (axis[:, None] ** 2 + axis**2 <= radius**2).float().view(1, 1, size, size)
    alike = softened(sharp, 600 / sharp.sum(dim=(1, 2, 3)))
    assert mask_loss(drawn, alike) < 0.12
    assert mask_loss(drawn, sharp) > 0.25
    torch.testing.assert_close(drawn.sum(), alike.sum(), rtol=0.02, atol=0)
