"""Learning words with tiny networks."""

import functools
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.backbones.mvdream.networks import MvdreamNetworks
from workers.methods.congealing_3d.generate.inversion import Inversion
from workers.methods.congealing_3d.generate.networks import ViewNetworks
from workers.methods.congealing_3d.generate.options import InversionOptions
from workers.methods.features import Heartbeat
from workers.run_context import Run

SIZE = 64
OPTIONS = InversionOptions(steps=10, word="cat", batch=2)


@functools.cache
def pictures() -> tuple[Tensor, Tensor]:
    """Discs (5, 3, 48, 48) of one colour on noise, and their masks (5, 1, 48, 48)."""
    generator = torch.Generator().manual_seed(0)
    axis = torch.linspace(-1, 1, 48)
    mask = (axis[:, None] ** 2 + axis**2 < 0.5).float().expand(5, 1, 48, 48)
    colour = torch.tensor([0.9, 0.4, 0.1]).view(1, 3, 1, 1)
    return mask * colour + (1 - mask) * torch.rand(5, 3, 48, 48, generator=generator), mask


def inversion(networks: ViewNetworks, options: InversionOptions = OPTIONS, *, masks: Tensor | None = None) -> Inversion:
    return Inversion(
        networks,
        pictures()[0],
        masks,
        options,
        template="a photo of {}",
        size=SIZE,
        seed=0,
        device=torch.device("cpu"),
    )


def pulse() -> Heartbeat:
    return Heartbeat(Run.local())


def plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return dict(tensors)


def frozen(networks: MvdreamNetworks) -> list[Tensor]:
    parts = (networks.unet, networks.vae, networks.text_encoder.network)
    return [tensor.clone() for part in parts for tensor in part.state_dict().values()]


def test_the_loss_on_fixed_draws_falls_and_only_the_words_change(networks: MvdreamNetworks) -> None:
    before = frozen(networks)
    under_way = inversion(networks, masks=pictures()[1])
    start = under_way.token.detach().clone()
    under_way.run(pulse(), plain)
    assert float(under_way.fixed[1]) < float(under_way.fixed[0])
    assert not torch.equal(under_way.token.detach(), start)
    assert all(torch.equal(one, other) for one, other in zip(before, frozen(networks), strict=True))
    assert under_way.curve[:, 0].tolist() == [10]
    assert bool(under_way.curve.isfinite().all())


def test_words_begin_as_the_word_that_is_given(networks: MvdreamNetworks) -> None:
    under_way = inversion(networks, replace(OPTIONS, vectors=3))
    assert_close(under_way.token.detach(), networks.word("cat").expand(3, -1))


def test_without_steps_nothing_is_learned(networks: MvdreamNetworks) -> None:
    under_way = inversion(networks, replace(OPTIONS, steps=0))
    under_way.run(pulse(), plain)
    assert_close(under_way.token.detach(), networks.word("cat")[None])
    assert bool(under_way.fixed.isnan().all())


def test_a_run_that_goes_on_from_a_checkpoint_ends_the_same(networks: MvdreamNetworks) -> None:
    options = replace(OPTIONS, steps=2)
    whole, first, second = (inversion(networks, options) for _ in range(3))
    whole.run(pulse(), plain)
    for _ in range(1):
        first.step(pulse())
    second.restore(first.tensors())
    second.run(pulse(), plain)
    assert torch.equal(second.token, whole.token)


def test_pictures_differ_by_crop_and_background_but_are_never_flipped(networks: MvdreamNetworks) -> None:
    ramp = torch.linspace(0, 1, 48).expand(1, 3, 48, 48)
    seen = Seen(networks)
    under_way = Inversion(
        seen,
        ramp,
        torch.ones(1, 1, 48, 48),
        replace(OPTIONS, batch=8, jitter=0.1),
        template="a photo of {}",
        size=SIZE,
        seed=0,
        device=torch.device("cpu"),
    )
    under_way.fixed_loss(pulse())
    inner = seen.pictures[:, 0, 16:48, 8:56]
    assert len(inner) == 8
    assert bool((inner.diff(dim=-1) >= -1e-6).all())
    spread = inner.mean(dim=(1, 2))
    assert 0.02 < float(spread.max() - spread.min()) < 0.25
    corners = seen.pictures[:, :, :1, :1].flatten(1)
    assert len({tuple(corner) for corner in corners.tolist()}) == 8


class Seen:
    """Networks that keep the pictures they are given."""

    def __init__(self, networks: MvdreamNetworks, *, most: int = 100) -> None:
        self._networks, self._most = networks, most
        self.alphas_cumprod = networks.alphas_cumprod
        self.text, self.text_with, self.word, self.noise = (
            networks.text, networks.text_with, networks.word, networks.noise
        )  # fmt: skip
        self.tried: list[int] = []

    def encode(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        self.pictures = rgb
        self.tried.append(len(rgb))
        if len(rgb) > self._most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self._networks.encode(rgb, generator)


def test_where_memory_runs_out_half_as_many_pictures_are_seen_at_once(networks: MvdreamNetworks) -> None:
    seen = Seen(networks, most=2)
    under_way = inversion(seen, replace(OPTIONS, batch=4))
    under_way.step(pulse())
    assert seen.tried == [4, 2, 2]
    assert (under_way.at_once, under_way.done) == (2, 1)
    scarce = inversion(Seen(networks, most=0))
    with pytest.raises(torch.OutOfMemoryError):
        scarce.step(pulse())


def test_few_pictures_are_learned_with_fewer_and_smaller_steps() -> None:
    options = InversionOptions(vectors=2, word="cat")
    assert options.suited_to(4) == options
    few = options.suited_to(3)
    assert (few.steps, few.rate, few.vectors, few.word) == (300, 5e-3, 2, "cat")
    assert InversionOptions(steps=50).suited_to(1).steps == 50
