from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.matching import chunks
from workers.matching.soft_argmax import Softness, expected_cells, soft_places

WAYS = [
    Softness(temperature=0.05),
    Softness(temperature=0.3, window=2),
    Softness(temperature=0.3, window=2, window_mode="zero"),
    Softness(temperature=0.3, window=20, window_mode="zero"),
    Softness(temperature=0.05, window=-2),
]
MASKS = [None, torch.rand(7, 9, generator=torch.Generator().manual_seed(4)) > 0.5]


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit_inputs() -> tuple[Tensor, Tensor]:
    queries, targets = normalize(random(23, 5, seed=1), dim=1), normalize(random(5, 7, 9, seed=2), dim=0)
    return queries.requires_grad_(), targets.requires_grad_()


def plainly(queries: Tensor, targets: Tensor, softness: Softness, *, mask: Tensor | None = None) -> Tensor:
    similarity = torch.einsum("pc,chw->phw", queries, targets)
    return expected_cells(similarity if mask is None else similarity.masked_fill(~mask, -torch.inf), softness)


def gradients(read: Callable[..., Tensor], softness: Softness, mask: Tensor | None) -> tuple[Tensor, ...]:
    queries, targets = unit_inputs()
    loss = (read(queries, targets, softness, mask=mask) * random(23, 2, seed=3)).sum()
    return torch.autograd.grad(loss, (queries, targets))


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("softness", WAYS)
def test_chunks_give_what_whole_maps_give(
    softness: Softness, mask: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "ELEMENTS", 4 * 63)
    ticks: list[int] = []
    queries, targets = unit_inputs()
    found = soft_places(queries, targets, softness, mask=mask, tick=lambda: ticks.append(1))
    torch.testing.assert_close(found, plainly(queries, targets, softness, mask=mask))
    assert len(ticks) == 6
    with torch.no_grad():
        torch.testing.assert_close(soft_places(queries, targets, softness, mask=mask), found)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("softness", WAYS)
def test_chunks_give_the_gradient_of_whole_maps(
    softness: Softness, mask: Tensor | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chunks, "ELEMENTS", 4 * 63)
    for found, plain in zip(gradients(soft_places, softness, mask), gradients(plainly, softness, mask), strict=True):
        assert plain.abs().max() > 0
        torch.testing.assert_close(found, plain)


@pytest.mark.parametrize("softness", WAYS)
def test_autograd_keeps_no_whole_matrix(softness: Softness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "ELEMENTS", 1)
    kept: list[int] = []
    queries, targets = unit_inputs()

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in (queries.data_ptr(), targets.data_ptr()):
            kept.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        soft_places(queries, targets, softness)
    window = min(2 * softness.window + 1, 2 * 9 + 1) ** 2 if softness.window > 0 else 1
    assert max(kept) <= 8 * max(2 * window, targets.numel())


def test_only_what_is_asked_is_told() -> None:
    queries, targets = unit_inputs()
    every = soft_places(queries, targets, WAYS[1])
    torch.testing.assert_close(soft_places(queries[4:6], targets, WAYS[1]), every[4:6])
    assert soft_places(queries[:0], targets, WAYS[1]).shape == (0, 2)


def test_a_sharp_softmax_is_the_argmax_and_a_flat_one_the_middle() -> None:
    queries, targets = unit_inputs()
    index = torch.einsum("pc,chw->phw", queries, targets).flatten(1).argmax(dim=1)
    cells = torch.stack([index % 9, index // 9], dim=1).double()
    torch.testing.assert_close(soft_places(queries, targets, Softness(temperature=1e-5)), cells)
    flat = soft_places(queries, targets, Softness(temperature=1e6))
    torch.testing.assert_close(flat, torch.tensor([4.0, 3.0], dtype=torch.float64).expand(23, 2), atol=1e-4, rtol=0)


def test_a_window_keeps_a_second_peak_out() -> None:
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    similarity = torch.exp(-((x - 4.3).square() + (y - 5).square()) / 4)
    similarity += 0.97 * torch.exp(-((x - 15).square() + (y - 12).square()) / 4)
    whole, near = (expected_cells(similarity[None], Softness(temperature=0.1, window=w))[0] for w in (0, 4))
    torch.testing.assert_close(near, torch.tensor([4.3, 5.0]), atol=0.1, rtol=0)
    assert whole[0] > 7


def test_temperature_must_be_positive() -> None:
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="is not positive"):
            Softness(temperature=temperature)
