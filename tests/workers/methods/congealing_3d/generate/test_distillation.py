"""Distillation with a denoiser that knows the answer, and with tiny networks that know nothing."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.workers.methods.congealing_3d.generate.volumes import Ellipsoid, Oracle
from workers.methods.congealing_3d.generate.cameras import ring
from workers.methods.congealing_3d.generate.distillation import Distillation, Draw
from workers.methods.congealing_3d.generate.guidance import Prompts
from workers.methods.congealing_3d.generate.marching import Marching, march
from workers.methods.congealing_3d.generate.meshing import agreement, silhouettes_of
from workers.methods.congealing_3d.generate.options import PAPER_RATES, DistillationOptions
from workers.methods.congealing_3d.generate.schedule import Phase

CPU = torch.device("cpu")
SIZE = 20
OPTIONS = DistillationOptions(steps=60, phases=(Phase(0.0, 1, SIZE),), cells=(16, 32), marching=Marching(samples=48))
PROMPTS = Prompts(torch.ones(1, 1, 1), torch.zeros(1, 1, 1))


def distillation(options: DistillationOptions = OPTIONS) -> Distillation:
    return Distillation(Oracle(), PROMPTS, options, size=SIZE, seed=0, device=CPU)


@torch.no_grad()
def shown(under_way: Distillation, draw: Draw) -> Draw:
    """Let the oracle know what the true solid looks like."""
    assert isinstance(under_way.networks, Oracle)
    plain = draw.plain
    backdrop = under_way.state.field.background if plain is None else (lambda directions: plain.expand_as(directions))
    views = march(Ellipsoid(), draw.views.cameras, SIZE, backdrop=backdrop, marching=under_way.options.marching)
    under_way.networks.shown = views.rgb
    return draw


def overlap(under_way: Distillation) -> float:
    cameras = ring(6, elevation_deg=15.0)
    return agreement(
        silhouettes_of(under_way.state.field, cameras, OPTIONS.marching, size=32),
        silhouettes_of(Ellipsoid(), cameras, OPTIONS.marching, size=32),
    )


def test_the_field_takes_the_shape_that_the_denoiser_wants() -> None:
    under_way = distillation()
    assert overlap(under_way) < 0.65
    for step in range(30):
        under_way.step(shown(under_way, under_way.draw(step)))
    assert overlap(under_way) > 0.75


def gradients(options: DistillationOptions, *, groups_at_once: int) -> dict[str, Tensor]:
    under_way = distillation(options)
    under_way.groups_at_once = groups_at_once
    draw = shown(under_way, under_way.draw(0))
    everything = under_way.networks.shown  # type: ignore[attr-defined]
    if groups_at_once == 1:
        under_way.networks = _InTurn(everything)
    under_way.step(draw)
    return {
        name: parameter.grad.clone()
        for name, parameter in under_way.state.field.named_parameters()
        if parameter.grad is not None
    }


class _InTurn(Oracle):
    """An oracle that is asked about one group after the other."""

    def __init__(self, everything: Tensor) -> None:
        super().__init__()
        self._left = list(everything.split(4))

    def noise(self, z_t: Tensor, t: Tensor, text: Tensor, conditions: Tensor | None, views: int) -> Tensor:
        self.shown = self._left.pop(0)
        return super().noise(z_t, t, text, conditions, views)


def test_groups_done_one_after_the_other_give_the_same_gradient() -> None:
    # The reconstruction of a sure denoiser does not depend on the noise that was drawn.
    options = replace(OPTIONS, phases=(Phase(0.0, 2, SIZE),))
    together, apart = gradients(options, groups_at_once=2), gradients(options, groups_at_once=1)
    assert set(together) == set(apart)
    for name, gradient in together.items():
        assert_close(apart[name], gradient, atol=1e-4 * float(gradient.abs().max()), rtol=1e-3)


class _Scarce(Oracle):
    """An oracle for few views only, on a machine with little memory."""

    def __init__(self, views: int) -> None:
        super().__init__()
        self._views = views
        self.tried: list[int] = []

    def encode(self, rgb: Tensor, generator: torch.Generator) -> Tensor:
        self.tried.append(len(rgb))
        if len(rgb) > self._views:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.shown = torch.zeros_like(rgb)
        return super().encode(rgb, generator)


def test_where_memory_runs_out_half_as_many_groups_are_done_at_once() -> None:
    under_way = distillation(replace(OPTIONS, phases=(Phase(0.0, 4, 8),)))
    scarce = _Scarce(4)
    under_way.networks = scarce
    under_way.step(under_way.draw(0))
    assert scarce.tried == [16, 8, 4, 4, 4, 4]
    assert (under_way.groups_at_once, under_way.state.done) == (1, 1)


def test_where_one_group_is_too_much_fewer_rays_are_marched_and_then_the_error_is_told() -> None:
    under_way = distillation(replace(OPTIONS, phases=(Phase(0.0, 1, 8),), marching=Marching(48, 2048)))
    scarce = _Scarce(0)
    under_way.networks = scarce
    with pytest.raises(torch.OutOfMemoryError):
        under_way.step(under_way.draw(0))
    assert scarce.tried == [4, 4, 4]
    assert under_way.marching.rays_at_once == 512
    assert under_way.state.done == 0


def test_an_empty_field_before_a_plain_colour_does_no_harm() -> None:
    under_way = distillation()
    with torch.no_grad():
        under_way.state.field.grids[0][:, 0] = -100.0  # type: ignore[index,union-attr]
    draw = under_way.draw(0)
    found = under_way.step(shown(under_way, replace(draw, plain=torch.tensor([0.2, 0.5, 0.1]))))
    assert float(found[1]) == 0
    assert math.isfinite(float(found[0]))


def test_the_hashed_field_learns_in_all_its_parts() -> None:
    under_way = distillation(replace(OPTIONS, kind="hash", phases=(Phase(0.0, 1, 4),), marching=Marching(24)))
    draw = replace(under_way.draw(1), plain=None)
    under_way.networks.shown = torch.zeros(4, 3, SIZE, SIZE)  # type: ignore[attr-defined]
    before = {name: tensor.clone() for name, tensor in under_way.state.field.state_dict().items()}
    under_way.step(draw)
    after = under_way.state.field.state_dict()
    assert len(after) == 8
    assert not any(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_times_are_drawn_within_the_schedules_window_and_colours_half_of_the_time() -> None:
    under_way = distillation()
    draws = [under_way.draw(step) for step in range(60)]
    assert draws[0].time == 980
    assert all(20 <= draw.time <= 500 for draw in draws[48:])
    assert all(500 <= draw.time <= 740 for draw in draws[24:25])
    assert len({draw.time for draw in draws[48:]}) > 6
    assert 15 < sum(draw.plain is not None for draw in draws) < 45


def test_rates_are_those_of_the_published_code_or_of_the_paper() -> None:
    def rates(options: DistillationOptions) -> list[float]:
        under_way = Distillation(Oracle(), PROMPTS, options, size=SIZE, seed=0, device=CPU)
        assert under_way.state.optimiser.defaults["betas"] == (0.9, 0.99)
        assert under_way.state.optimiser.defaults["eps"] == 1e-15
        assert under_way.state.optimiser.defaults["weight_decay"] == 0.01
        return [group["lr"] for group in under_way.state.optimiser.param_groups]

    assert rates(replace(OPTIONS, kind="hash")) == [0.01, 0.001, 0.001]
    assert rates(OPTIONS) == [0.01, 0.001]
    assert rates(replace(OPTIONS, rates=PAPER_RATES)) == [0.001, 0.001]
