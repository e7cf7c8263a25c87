from collections.abc import Callable

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from torch.testing import assert_close

from tests.workers.backbones.diffusion.attention_reference import (
    TIMESTEP,
    WIDTH_OF_2,
    assert_alike,
    attention,
    diffusers_attention,
    embeddings_for,
    noisy_latents,
    reader_of,
    tiny_unet_2,
)
from tests.workers.backbones.diffusion.checks import passes
from tests.workers.backbones.diffusion.tiny import tiny_unet
from workers.backbones.diffusion.attention import AttentionReader, HeadChoice


class Stop(BaseException):
    """As a cancelled job raises it."""


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return tiny_unet()


@pytest.fixture(scope="module")
def reader(unet: UNet2DConditionModel) -> AttentionReader:
    return reader_of(unet)


def gradient(maps: list[Tensor], embeddings: Tensor) -> Tensor:
    """Of a number that depends on all maps."""
    weights = [torch.linspace(0, 1, one.numel()).view_as(one) for one in maps]
    total = torch.stack([(one * weight).sum() for one, weight in zip(maps, weights, strict=True)]).sum()
    return torch.autograd.grad(total, embeddings)[0]


def gap(found: Tensor, expected: Tensor) -> float:
    """Length of the difference as a share of the length."""
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("heads", ["second_half", "all"])
@pytest.mark.parametrize("make", [tiny_unet, tiny_unet_2])
def test_maps_are_those_of_a_whole_pass_of_diffusers(
    make: Callable[[], UNet2DConditionModel], heads: HeadChoice
) -> None:
    unet = make()
    reader = reader_of(unet, heads=heads)
    embeddings, noisy = embeddings_for(reader, 1), noisy_latents(reader)
    found = attention(reader, noisy, embeddings, [0])
    expected = diffusers_attention(unet, noisy, embeddings, heads=heads)
    assert_alike(found, expected)
    assert gap(gradient(found, embeddings), gradient(expected, embeddings)) < 1e-5


def test_a_network_says_what_contexts_it_takes(reader: AttentionReader) -> None:
    assert reader.embedding_shape == (77, 32)
    assert reader_of(tiny_unet_2()).embedding_shape == (77, WIDTH_OF_2)
    assert reader.latent_shape(320) == (4, 40, 40)


@pytest.mark.parametrize(("size", "grids"), [(256, (8, 8, 8, 16)), (320, (10, 10, 10, 20))])
def test_names_hold_at_any_size(
    unet: UNet2DConditionModel, reader: AttentionReader, size: int, grids: tuple[int, ...]
) -> None:
    embeddings, noisy = embeddings_for(reader, 1), noisy_latents(reader, size)
    with torch.no_grad():
        found = attention(reader, noisy, embeddings, [0])
        expected = diffusers_attention(unet, noisy, embeddings, heads="second_half")
    assert tuple(one.shape[-1] for one in found) == grids
    assert_alike(found, expected)


def test_contexts_that_share_latents_attend_as_by_themselves(reader: AttentionReader) -> None:
    noisy, embeddings = noisy_latents(reader, count=2), embeddings_for(reader, 3)
    owners = [1, 0, 1]
    shared = attention(reader, noisy, embeddings, owners)
    alone = [attention(reader, noisy[[owner]], embeddings[[i]], [0]) for i, owner in enumerate(owners)]
    apart = [torch.cat(layer) for layer in zip(*alone, strict=True)]
    assert_alike(shared, apart)
    assert gap(gradient(shared, embeddings), gradient(apart, embeddings)) < 1e-5


def test_what_no_context_changes_is_computed_once(unet: UNet2DConditionModel, reader: AttentionReader) -> None:
    first = unet.get_submodule("down_blocks.0.resnets.0")
    second = unet.get_submodule("down_blocks.0.resnets.1")
    with torch.no_grad(), passes(first) as shared, passes(second) as own:
        attention(reader, noisy_latents(reader, count=2), embeddings_for(reader, 3), [0, 1, 1])
    assert (shared, own) == ([2], [3])


def test_the_network_is_left_after_the_last_layer_that_is_read(
    unet: UNet2DConditionModel, reader: AttentionReader
) -> None:
    late = ["up_blocks.2.attentions.0.proj_out", "up_blocks.2.resnets.1", "up_blocks.3.resnets.0", "conv_out"]
    ran: list[str] = []
    handles = [
        unet.get_submodule(name).register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name in [*late, "up_blocks.2.resnets.0"]
    ]
    with torch.no_grad():
        attention(reader, noisy_latents(reader), embeddings_for(reader, 1), [0])
    for handle in handles:
        handle.remove()
    assert ran == ["up_blocks.2.resnets.0"]


def test_one_set_of_features_serves_many_embeddings(reader: AttentionReader) -> None:
    embeddings = embeddings_for(reader, 3).detach()
    with torch.no_grad():
        features = reader.features(noisy_latents(reader), TIMESTEP, embeddings[:1], torch.tensor([0]))
        together = reader.attend(features, embeddings, 2)
        apart = [reader.attend(features, one[None], 2) for one in embeddings]
    assert_alike(together, [torch.cat(layer) for layer in zip(*apart, strict=True)])


def test_attention_is_shared_among_all_tokens_whatever_their_order(reader: AttentionReader) -> None:
    embeddings = embeddings_for(reader, 1)
    with torch.no_grad():
        features = reader.features(noisy_latents(reader), TIMESTEP, embeddings, torch.tensor([0]))
        others = reader.attend(features, embeddings, 76)
        first = reader.attend(features, embeddings.roll(1, dims=1), 1)
        rolled = attention(reader, noisy_latents(reader), embeddings.roll(1, dims=1), [0], tokens=1)
    assert all(float(one.min()) >= 0 for one in others)
    shares = [one.sum(1) + zeroth[:, 0] for one, zeroth in zip(others, first, strict=True)]
    assert_alike(shares, [torch.ones_like(one) for one in shares])
    assert_alike(rolled, first)


def test_low_memory_changes_neither_maps_nor_gradients(unet: UNet2DConditionModel, reader: AttentionReader) -> None:
    frugal = reader_of(unet)
    frugal.low_memory = True
    noisy, embeddings = noisy_latents(reader), embeddings_for(reader, 2)
    plain, slow = (attention(one, noisy, embeddings, [0, 0]) for one in (reader, frugal))
    assert_alike(slow, plain, rtol=0)
    with passes(unet.get_submodule("mid_block")) as again:
        found = gradient(slow, embeddings)
    assert again == [2]
    assert_close(found, gradient(plain, embeddings), rtol=0, atol=0)


def test_gradients_go_to_the_context_alone(unet: UNet2DConditionModel, reader: AttentionReader) -> None:
    noisy, embeddings = noisy_latents(reader).requires_grad_(), embeddings_for(reader, 1)
    maps = attention(reader, noisy, embeddings, [0])
    torch.stack([one.sum() for one in maps]).sum().backward()
    assert float(embeddings.grad.abs().sum()) > 0
    assert noisy.grad is None
    assert all(parameter.grad is None for parameter in unet.parameters())


def test_pictures_are_encoded_without_gradients(reader: AttentionReader) -> None:
    latents = reader.encode(torch.rand(2, 3, 64, 128).requires_grad_())
    assert latents.shape == (2, 4, 8, 16)
    assert not latents.requires_grad


@pytest.mark.parametrize("low_memory", [False, True])
def test_life_is_shown_on_the_way_there_and_back(unet: UNet2DConditionModel, *, low_memory: bool) -> None:
    reader = reader_of(unet)
    reader.low_memory = low_memory
    embeddings, seen = embeddings_for(reader, 1), [0]

    def tick() -> None:
        seen[0] += 1

    features = reader.features(noisy_latents(reader), TIMESTEP, embeddings, torch.tensor([0]), tick=tick)
    there = seen[0]
    gradient(reader.attend(features, embeddings, 1), embeddings)
    assert there > 10
    assert seen[0] - there > 10


def test_a_job_can_be_cancelled_on_the_way_back(reader: AttentionReader) -> None:
    embeddings, left = embeddings_for(reader, 1), [10**6]

    def tick() -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Stop

    features = reader.features(noisy_latents(reader), TIMESTEP, embeddings, torch.tensor([0]), tick=tick)
    maps = reader.attend(features, embeddings, 1)
    left[0] = 3
    with pytest.raises(Stop):
        gradient(maps, embeddings)
    left[0] = 3
    with pytest.raises(Stop):
        reader.features(noisy_latents(reader), TIMESTEP, embeddings, torch.tensor([0]), tick=tick)


def test_a_network_of_half_precision_attends_in_single(reader: AttentionReader) -> None:
    half = reader_of(tiny_unet(), dtype=torch.bfloat16)
    embeddings, noisy = embeddings_for(reader, 1), noisy_latents(reader)
    features = half.features(noisy, TIMESTEP, embeddings, torch.tensor([0]))
    maps = half.attend(features, embeddings, 76)
    assert {one.dtype for one in (*features, *maps)} == {torch.float32}
    coarse = [one.detach().to(torch.bfloat16).float() for one in maps]
    assert all(not torch.equal(one, other) for one, other in zip(maps, coarse, strict=True))
    exact = attention(reader, noisy, embeddings, [0], tokens=76)
    for one, other in zip(maps, exact, strict=True):
        assert gap(one.detach(), other.detach()) < 0.1
    found = gradient(maps, embeddings)
    assert found.dtype == torch.float32
    assert bool(found.isfinite().all())


def test_readers_that_attend_differently_have_different_identities(unet: UNet2DConditionModel) -> None:
    named = [reader_of(unet), reader_of(unet, heads="all"), reader_of(tiny_unet(), dtype=torch.bfloat16)]
    assert len({one.identity for one in named}) == len(named)
    assert reader_of(unet).identity == reader_of(unet).identity
