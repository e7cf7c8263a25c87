from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.testing import assert_close

from tests.workers.backbones.diffusion.tiny import WIDTHS, context, tiny_unet
from workers.backbones.diffusion.freeu import FreeU, Stage, low_frequencies_scaled
from workers.backbones.diffusion.schedule import gaussian
from workers.backbones.diffusion.unet import DECODER_STEPS, read_unet

# The module whose output enters each decoder step.
TAPS = {
    2: "up_blocks.0.resnets.1",
    3: "up_blocks.0",
    5: "up_blocks.1.attentions.1",
    6: "up_blocks.1",
    8: "up_blocks.2.attentions.1",
    9: "up_blocks.2",
    11: "up_blocks.3.attentions.1",
    12: "up_blocks.3",
}


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return tiny_unet().requires_grad_(False)


@pytest.fixture(scope="module")
def latents() -> Tensor:
    return gaussian(2, 4, 16, 24, seed=0)


@contextmanager
def outputs(unet: UNet2DConditionModel, names: list[str]) -> Iterator[dict[str, Tensor]]:
    """Collect what modules return: the reference."""
    found: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor | tuple[Tensor, ...]) -> None:
        found[name] = output[0] if isinstance(output, tuple) else output

    handles = [
        unet.get_submodule(name).register_forward_hook(lambda _m, _i, output, name=name: keep(name, output))
        for name in names
    ]
    yield found
    for handle in handles:
        handle.remove()


def test_every_place_is_what_the_whole_network_computes_there(unet: UNet2DConditionModel, latents: Tensor) -> None:
    with outputs(unet, list(TAPS.values())) as expected:
        unet(latents, 261, context().expand(2, -1, -1))
    found = read_unet(unet, latents, 261, context(), places=TAPS)
    assert found.keys() == TAPS.keys()
    for place, name in TAPS.items():
        assert_close(found[place], expected[name], rtol=0, atol=0)


@pytest.mark.parametrize(("places", "untouched"), [([2], "up_blocks.0.resnets.2"), ([8], "up_blocks.2.resnets.2")])
def test_nothing_runs_after_the_last_place(
    unet: UNet2DConditionModel, latents: Tensor, places: list[int], untouched: str
) -> None:
    with outputs(unet, [untouched]) as ran:
        found = read_unet(unet, latents, 50, context(), places=places)
    assert list(found) == places
    assert not ran


def test_images_of_a_batch_do_not_see_each_other(latents: Tensor) -> None:
    unet, latents = tiny_unet().requires_grad_(False).double(), latents.double()
    contexts = torch.cat([context(0), context(1)]).double()
    together = read_unet(unet, latents, 50, contexts, places=[8])[8]
    alone = read_unet(unet, latents[1:], 50, contexts[1:], places=[8])[8]
    assert_close(together[1:], alone, rtol=0, atol=1e-12)


def test_freeu_acts_on_every_step_by_its_width(unet: UNet2DConditionModel, latents: Tensor) -> None:
    """The reference scales what enters the whole network's resnets: hidden state and skip, one after the other."""
    freeu = FreeU({64: Stage(amplify=1.2, damp=0.9), 32: Stage(amplify=1.4, damp=0.2)})
    places = range(DECODER_STEPS)
    widths = {place: state.shape[1] for place, state in read_unet(unet, latents, 50, context(), places=places).items()}
    expected: dict[int, Tensor] = {}

    def scale(place: int, joined: Tensor) -> Tensor:
        width = widths[place]
        stage = freeu.stages[width]
        joined = joined.clone()
        joined[:, : width // 2] *= stage.amplify
        joined[:, width:] = low_frequencies_scaled(joined[:, width:], stage.damp)
        expected[place] = joined[:, :width]
        return joined

    handles = [
        unet.get_submodule(f"up_blocks.{place // 3}.resnets.{place % 3}").register_forward_pre_hook(
            lambda _, inputs, place=place: (scale(place, inputs[0]), *inputs[1:])
        )
        for place in places
    ]
    unet(latents, 50, context().expand(2, -1, -1))
    for handle in handles:
        handle.remove()
    found = read_unet(unet, latents, 50, context(), places=places, freeu=freeu)
    assert {32, 64} == set(widths.values())
    for place in places:
        assert_close(found[place], expected[place], rtol=0, atol=1e-5)


def test_states_amplified_by_freeu_are_read_so(unet: UNet2DConditionModel, latents: Tensor) -> None:
    """Diffusers' FreeU goes by block, ours by width: they agree in block 0. It amplifies in place, so hooks see it."""
    unet.enable_freeu(s1=0.9, s2=0.2, b1=1.2, b2=1.4)
    with outputs(unet, ["up_blocks.0.resnets.1"]) as expected:
        unet(latents, 50, context().expand(2, -1, -1))
    unet.disable_freeu()
    found = read_unet(unet, latents, 50, context(), places=[2], freeu=FreeU.of_widths(WIDTHS))[2]
    plain = read_unet(unet, latents, 50, context(), places=[2])[2]
    assert_close(found, expected["up_blocks.0.resnets.1"], rtol=0, atol=1e-5)
    assert not torch.allclose(found, plain, atol=0.01)


def test_ticks_between_layers(unet: UNet2DConditionModel, latents: Tensor) -> None:
    ticks: list[None] = []
    read_unet(unet, latents, 50, context(), places=[8], tick=lambda: ticks.append(None))
    assert len(ticks) > 15
