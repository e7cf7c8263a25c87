"""The fast pass against the plain one, and what it leaves out."""

import pytest
import timm
import torch
from timm.models.vision_transformer import ParallelThingsBlock
from torch import Tensor
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from api_schemas.backbones import FACETS, Facet
from tests.workers.backbones.vit.tiny import ARCHITECTURES, DEPTH, DIM, HEADS, pictures, tiny_model, tiny_network
from workers.backbones.vit.network import View, VitNetwork
from workers.backbones.vit.reference import describe_reference


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_facet_and_layer_equals_the_reference(family: str) -> None:
    network = tiny_network(family)
    inputs = pictures(2, 4 * network.patch, 3 * network.patch)
    views = [View(layer, facet) for layer in range(DEPTH) for facet in FACETS]
    for stride in (network.patch, network.patch // 2):
        for view, maps in zip(views, network.describe(inputs, views, stride=stride), strict=True):
            expected = describe_reference(network, inputs, view, stride=stride)
            assert_close(maps, expected, atol=1e-5, rtol=1e-5, msg=lambda text, view=view: f"{view}: {text}")


@pytest.mark.parametrize("family", ["dino", "dinov3"])
def test_more_tokens_than_are_run_at_a_time_equal_the_reference(family: str) -> None:
    network = tiny_network(family)
    inputs = pictures(6, 8 * network.patch, 6 * network.patch)
    for view in (View(1, "key"), View(2, "token"), View(2, "attention")):
        expected = describe_reference(network, inputs, view, stride=network.patch // 4)
        maps = network.describe(inputs, [view], stride=network.patch // 4)[0]
        assert len(maps) * maps.shape[2:].numel() > 3600
        assert_close(maps, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ARCHITECTURES)
@torch.no_grad()
def test_tokens_are_those_of_timm_where_patches_do_not_overlap(family: str) -> None:
    model = tiny_model(family)
    network = VitNetwork(model, digest="")
    inputs = pictures(2, 4 * network.patch, 4 * network.patch)
    views = [View(layer, "token") for layer in range(DEPTH)]
    expected = model.forward_intermediates(inputs, indices=[0, 1, 2], norm=False, intermediates_only=True)
    for maps, tokens in zip(network.describe(inputs, views, stride=network.patch), expected, strict=True):
        assert_close(maps, tokens, atol=1e-5, rtol=1e-5)


def test_keys_are_the_heads_dimensions_in_turn() -> None:
    network = tiny_network()
    inputs = pictures(1, 32, 32)
    tokens, _ = network.embedded(inputs, 8)
    block = network.model.blocks[0]
    keys = block.attn.qkv(block.norm1(tokens))[0, 1:, DIM : 2 * DIM]
    described = network.describe(inputs, [View(0, "key")], stride=8)[0][0].flatten(1)
    head, dimension = 1, 5
    assert_close(described[dimension * HEADS + head], keys[:, head * (DIM // HEADS) + dimension])


def test_attention_of_all_tokens_sums_to_one() -> None:
    network = tiny_network("dinov2_reg")
    attention = network.describe(pictures(1, 56, 56), [View(2, "attention")], stride=14)[0]
    total = attention.sum(dim=(2, 3))
    assert attention.shape == (1, HEADS, 4, 4)
    assert float(attention.min()) > 0
    assert bool((total < 1).all()), "the class token and the registers take a share"


def needed(facet: Facet, patches: int, patch: int) -> int:
    """Floating-point operations for a facet of the first block of the tiny network, without attention's own."""
    tokens = 1 + patches
    product = 2 * DIM * DIM
    return 2 * patches * DIM * 3 * patch**2 + {
        "attention": product + tokens * product + 2 * tokens * DIM,
        "token": tokens * (4 + 8) * product,
    }.get(facet, patches * product)


@pytest.mark.parametrize("facet", FACETS)
def test_nothing_that_is_not_needed_is_computed(facet: Facet) -> None:
    network = tiny_network()
    inputs = pictures(1, 32, 32)
    with FlopCounterMode(display=False) as counter:
        network.describe(inputs, [View(0, facet)], stride=4)
    counts = {str(operation): count for operation, count in counter.get_flop_counts()["Global"].items()}
    found = sum(count for operation, count in counts.items() if "attention" not in operation)
    assert found == needed(facet, 49, 8)


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        made = func(*args, **(kwargs or {}))
        for each in made if isinstance(made, tuple) else (made,):
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.numel())
        return made


@pytest.mark.parametrize("facet", FACETS)
def test_attention_never_holds_its_matrix(facet: Facet) -> None:
    network = tiny_network()
    inputs = pictures(1, 64, 64)
    with Largest() as largest:
        maps = network.describe(inputs, [View(2, facet)], stride=2)[0]
    tokens = 1 + maps.shape[2:].numel()
    assert 0 < largest.numbers <= 4 * DIM * tokens < HEADS * tokens**2


def test_ticks_come_with_every_block() -> None:
    network, ticks = tiny_network(), list[int]()
    network.describe(pictures(1, 32, 32), [View(2, "key")], stride=8, tick=lambda: ticks.append(1))
    assert len(ticks) >= DEPTH


def test_a_tick_can_stop_the_work() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_network().describe(pictures(1, 32, 32), [View(2, "key")], stride=8, tick=stop)


@pytest.mark.parametrize(
    ("architecture", "extras", "why"),
    [
        ("test_vit3", {}, "no class token"),
        ("test_vit", {"qk_norm": True}, "attention with a norm"),
        ("test_vit", {"block_fn": ParallelThingsBlock}, "cannot run a ParallelThingsBlock"),
        (ARCHITECTURES["dinov3"], {"rope_rotate_half": False}, "nor DINOv3's"),
        ("eva02_tiny_patch14_224", {}, "neither learned positions alone"),
    ],
)
def test_other_kinds_of_transformer_are_refused(architecture: str, extras: dict[str, object], why: str) -> None:
    model = timm.create_model(architecture, num_classes=0, depth=1, **extras)
    with pytest.raises(ValueError, match=why):
        VitNetwork(model.eval(), digest="")
