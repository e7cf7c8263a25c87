import pytest
import torch
from timm.layers import resample_abs_pos_embed
from torch.testing import assert_close

from tests.workers.backbones.vit.tiny import tiny_model, tiny_network
from workers.backbones.vit.positions import resampled_position, rotary_table, rotated, token_count


def test_overlapping_patches_are_counted() -> None:
    assert token_count(256, 8, 4) == 63
    assert token_count(256, 8, 2) == 125
    assert token_count(448, 14, 14) == 32


def test_a_grid_of_the_stored_size_is_used_as_it_is() -> None:
    grid = torch.rand(1, 16, 5)
    assert resampled_position(grid, 4, 4) is grid
    assert resampled_position(grid, 3, 7).shape == (1, 21, 5)


def test_half_precision_is_resampled_in_single_precision() -> None:
    grid = torch.rand(1, 16, 5).bfloat16()
    assert torch.equal(resampled_position(grid, 6, 6), resampled_position(grid.float(), 6, 6))


@pytest.fixture
def rope() -> torch.nn.Module:
    return tiny_model("dinov3").rope


def test_without_overlap_the_turns_are_those_of_timm(rope: torch.nn.Module) -> None:
    cosines, sines = rotary_table(rope.periods, (48, 80), patch=16, stride=16, prefix=5)
    expected = rope.get_embed(shape=[3, 5])
    assert_close(torch.cat([sines, cosines], dim=-1)[5:], expected, atol=1e-6, rtol=0)


def test_tokens_in_front_do_not_turn(rope: torch.nn.Module) -> None:
    table = rotary_table(rope.periods, (32, 32), patch=16, stride=16, prefix=5)
    vectors = torch.rand(2, 3, 9, 8)
    turned = rotated(vectors, table)
    assert torch.equal(turned[:, :, :5], vectors[:, :, :5])
    assert not torch.allclose(turned[:, :, 5:], vectors[:, :, 5:])


def test_overlapping_patches_stand_between_the_others(rope: torch.nn.Module) -> None:
    apart = rotary_table(rope.periods, (64, 48), patch=16, stride=16, prefix=0).view(2, 4, 3, -1)
    overlapping = rotary_table(rope.periods, (64, 48), patch=16, stride=8, prefix=0).view(2, 7, 5, -1)
    assert_close(overlapping[:, ::2, ::2], apart, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("rows", "columns"), [(9, 9), (3, 7), (5, 2)])
def test_networks_with_registers_resample_as_timm_does(rows: int, columns: int) -> None:
    grid = torch.randn(1, 25, 6, generator=torch.Generator().manual_seed(0))
    expected = resample_abs_pos_embed(grid, new_size=[rows, columns], old_size=[5, 5], num_prefix_tokens=0)
    torch.testing.assert_close(resampled_position(grid, rows, columns, antialias=True), expected)
    assert not torch.allclose(resampled_position(grid, rows, columns), expected, atol=1e-3)


def test_the_network_takes_the_rule_of_its_kind() -> None:
    for family, antialias in (("dinov2", False), ("dinov2_reg", True)):
        network = tiny_network(family)
        stored = network.model.pos_embed
        assert stored is not None
        grid = stored[:, stored.shape[1] - 16 :]
        expected = resampled_position(grid, 3, 7, antialias=antialias)
        torch.testing.assert_close(network.position(3, 7)[:, network.prefix :], expected)
