import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.geometry.coordinates import cell_centres, identity_grid, sample_at
from workers.methods.geo_aware.imd import imd, imd_matrix
from workers.methods.geo_aware.variants import (
    VARIANTS,
    Variant,
    choose,
    from_variant,
    laterality,
    mask,
    picture,
    to_variant,
)

EVERY = list(VARIANTS.values())
SIDE = 20
POINTS = torch.tensor([[0.3, -0.45], [-0.5, 0.1], [0.05, 0.4]])


def smooth_frame(side: int = 128) -> Tensor:
    grid = identity_grid(side, side)
    x, y = grid.unbind(dim=-1)
    return 0.5 + 0.4 * torch.stack([torch.sin(3 * x + 1), torch.cos(2 * y - x), torch.sin(2 * x * y + y)])


def test_names_tell_what_is_done() -> None:
    assert list(VARIANTS)[:4] == ["id", "flip", "rot90", "flip_rot90"]
    assert VARIANTS["id"] == Variant("id", False, 0)
    assert VARIANTS["flip_rot-30"] == Variant("flip_rot-30", True, -30)
    assert len(VARIANTS) == 16
    assert all(name == variant.name for name, variant in VARIANTS.items())


def test_a_quarter_turn_brings_the_right_side_to_the_top() -> None:
    right = torch.tensor([[1.0, 0.0]])
    assert to_variant(right, VARIANTS["rot90"]).tolist() == [[0.0, -1.0]]
    assert to_variant(right, VARIANTS["flip_rot90"]).tolist() == [[0.0, 1.0]]
    frame = torch.zeros(3, 4, 4)
    frame[:, 1, 3] = 1
    assert picture(frame, VARIANTS["rot90"])[0].nonzero().tolist() == [[0, 1]]
    assert picture(frame, VARIANTS["flip_rot90"])[0].nonzero().tolist() == [[3, 1]]


@pytest.mark.parametrize("variant", EVERY, ids=lambda variant: variant.name)
def test_a_variant_shows_at_a_point_what_the_frame_shows_there(variant: Variant) -> None:
    frame = smooth_frame()
    shown = picture(frame, variant)
    assert shown.shape == frame.shape
    there = sample_at(shown[None], to_variant(POINTS, variant)[None])
    torch.testing.assert_close(there, sample_at(frame[None], POINTS[None]), atol=1e-3, rtol=0)


@pytest.mark.parametrize("variant", EVERY, ids=lambda variant: variant.name)
def test_points_come_back(variant: Variant) -> None:
    torch.testing.assert_close(from_variant(to_variant(POINTS, variant), variant), POINTS, atol=1e-6, rtol=0)
    torch.testing.assert_close(to_variant(from_variant(POINTS, variant), variant), POINTS, atol=1e-6, rtol=0)


@pytest.mark.parametrize("variant", [v for v in EVERY if v.degrees % 90 == 0], ids=lambda variant: variant.name)
def test_quarter_turns_and_mirrors_move_pixels_as_they_are(variant: Variant) -> None:
    frame = torch.rand(3, 9, 9, generator=torch.Generator().manual_seed(1))
    shown = picture(frame, variant)
    columns, rows = ((to_variant(identity_grid(9, 9), variant) + 1) * 9 / 2).floor().long().unbind(dim=-1)
    assert torch.equal(shown[:, rows, columns], frame)
    inside = frame[0] > 0.5
    assert torch.equal(mask(inside, variant)[rows, columns], inside)


def test_other_turns_repeat_the_edge_in_the_picture_but_not_in_the_mask() -> None:
    all_of_it = torch.ones(40, 40, dtype=torch.bool)
    shown, inside = picture(torch.ones(3, 40, 40), VARIANTS["rot45"]), mask(all_of_it, VARIANTS["rot45"])
    torch.testing.assert_close(shown, torch.ones(3, 40, 40))
    assert not inside[0, 0]
    assert inside[20, 20]
    assert float(inside.float().mean()) == pytest.approx(2 * 2**0.5 - 2, abs=0.02)


def test_a_turned_mask_covers_what_it_covered() -> None:
    y, x = torch.meshgrid(cell_centres(90), cell_centres(60), indexing="ij")
    inside = (x - 0.3).abs() + (y + 0.2).abs() < 0.3
    turned = mask(inside, VARIANTS["flip_rot30"])
    middle = to_variant(torch.tensor([0.3, -0.2]), VARIANTS["flip_rot30"])
    grid = identity_grid(90, 60)
    torch.testing.assert_close(grid[turned].mean(dim=0), middle, atol=0.01, rtol=0)
    assert int(turned.sum()) == pytest.approx(int(inside.sum()), rel=0.05)


def test_a_mirrored_picture_swaps_left_and_right() -> None:
    assert {name for name, variant in VARIANTS.items() if laterality(variant) == "mirrored"} == {
        name for name in VARIANTS if name.startswith("flip")
    }


def creature(facing: float, seed: int, *, told: bool) -> tuple[Tensor, Tensor]:
    """Features (8, 20, 20) that mirror along with the picture but for a channel of the facing, and the mask."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(cell_centres(SIDE), cell_centres(SIDE), indexing="ij")
    cx, cy = ((torch.rand(2, generator=generator) - 0.5) * 0.6).tolist()
    along = facing * (x - cx)
    inside = (along / 0.5).square() + ((y - cy) / 0.3).square() < 1
    parts = [torch.cos(k * along + 2 * (y - cy) + k) for k in range(1, 8)]
    told_facing = torch.full_like(x, facing if told else 0.0) * inside
    noise = 0.05 * torch.randn(8, SIDE, SIDE, generator=generator)
    if facing < 0:
        noise = noise.flip(-1)
    return normalize(torch.stack([*parts, told_facing]) + noise * (1 if told else 0), dim=0), inside


def mirrored(features: Tensor, *, told: bool) -> Tensor:
    signs = torch.ones(8)
    signs[7] = -1 if told else 1
    return features.flip(-1) * signs.view(-1, 1, 1)


def test_a_channel_of_the_facing_chooses_the_mirror_image_where_it_should() -> None:
    for seed in range(40):
        facings = [1.0 if seed & bit else -1.0 for bit in (1, 2)]
        (first, mask_a), (second, mask_b) = (
            creature(facing, 2 * seed + n, told=True) for n, facing in enumerate(facings)
        )
        features, masks = torch.stack([first, second]), torch.stack([mask_a, mask_b])
        variants = [features, torch.stack([mirrored(first, told=True), mirrored(second, told=True)])]
        matrix = imd_matrix(variants, features, [masks, masks.flip(-1)], masks)
        for i, j in ((0, 1), (1, 0)):
            assert choose(matrix[i, j]) == int(facings[0] != facings[1])


def test_features_that_do_not_know_the_facing_tie() -> None:
    for seed in range(8):
        first, inside = creature(1.0, 2 * seed, told=False)
        second, other = creature(-1.0, 2 * seed + 1, told=False)
        plain = imd(first, second, inside, other)
        flipped = imd(mirrored(first, told=False), second, inside.flip(-1), other)
        assert plain > 1e-3
        assert flipped == pytest.approx(plain, abs=1e-7)
