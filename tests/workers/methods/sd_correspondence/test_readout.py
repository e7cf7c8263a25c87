import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from workers.methods.sd_correspondence.crops import Crops, Window, crops_of
from workers.methods.sd_correspondence.peaks import profile
from workers.methods.sd_correspondence.readout import HEAT_CELLS, fused, joined, located

SIZE, SIGMA = 128, 7.0
EVERYWHERE = torch.ones(SIZE, SIZE, dtype=torch.bool)
CROPS = crops_of(SIZE, 90)
WINDOWS = [*CROPS.corners(), (5, 7), (0, 3)]


def layers(*shape: int, seed: int = 0) -> list[Tensor]:
    source = torch.Generator().manual_seed(seed)
    return [torch.rand(*shape, side, side, generator=source) for side in (4, 4, 8)]


def plainly_joined(maps: list[Tensor], windows: list[Window], crops: Crops) -> Tensor:
    """As the official code does it: every crop is enlarged and added where it lies."""
    whole = []
    for layer in maps:
        total, count = torch.zeros(*layer.shape[1:-2], crops.size, crops.size), torch.zeros(crops.size, crops.size)
        for one, (x, y) in zip(layer, windows, strict=True):
            rows, columns = slice(y, y + crops.side), slice(x, x + crops.side)
            flat = one.reshape(1, -1, *one.shape[-2:])
            shown = interpolate(flat, (crops.side, crops.side), mode="bilinear", align_corners=False)
            total[..., rows, columns] += shown.view(*one.shape[:-2], crops.side, crops.side)
            count[rows, columns] += 1
        whole.append(total / count)
    return torch.stack(whole, dim=-3)


def peak(x: float, y: float, *, height: float = 0.5, sigma: float = SIGMA) -> Tensor:
    """A Gaussian (S, S)."""
    across, down = profile(torch.tensor([x, y]), SIZE, sigma, half_pixel=True)
    return height * down[:, None] * across


def stacked(*rounds: Tensor, layers: int = 2) -> Tensor:
    """Rounds whose layers are all alike: (R, L, S, S)."""
    return torch.stack([one.expand(layers, -1, -1) for one in rounds])


def found(maps: Tensor, inside: Tensor = EVERYWHERE, *, fusion: str = "softmax"):
    return located(maps, inside, sigma=SIGMA, fusion=fusion)


@pytest.mark.parametrize("shape", [(len(WINDOWS),), (len(WINDOWS), 3), (len(WINDOWS), 2, 3)])
def test_crops_are_joined_as_if_each_was_enlarged(shape: tuple[int, ...]) -> None:
    maps = layers(*shape)
    whole = joined(maps, WINDOWS, CROPS)
    assert whole.shape == (*shape[1:], 3, SIZE, SIZE)
    assert_close(whole, plainly_joined(maps, WINDOWS, CROPS), rtol=1e-5, atol=1e-6)


def test_maps_that_are_one_everywhere_stay_one() -> None:
    whole = joined([torch.ones_like(one) for one in layers(len(WINDOWS))], WINDOWS, CROPS)
    assert_close(whole, torch.ones_like(whole), rtol=0, atol=1e-6)


def test_a_picture_that_is_one_crop_is_enlarged() -> None:
    crops = crops_of(SIZE, 100)
    maps = layers(1)
    expected = torch.cat([interpolate(one[None], (SIZE, SIZE), mode="bilinear") for one in maps])
    assert_close(joined(maps, crops.corners(), crops), expected[:, 0], rtol=1e-5, atol=1e-6)


def test_layers_are_fused_in_both_ways() -> None:
    maps = torch.stack([peak(30, 40), 3 * peak(80, 90)])
    assert_close(fused(maps, "mean"), maps.mean(0))
    soft = fused(maps, "softmax")
    expected = sum(layer.exp() / layer.exp().sum() for layer in maps) / 2
    assert_close(soft, expected, rtol=1e-5, atol=0)
    assert float(soft.sum()) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("fusion", ["softmax", "mean"])
def test_the_place_is_the_peaks(fusion: str) -> None:
    one = found(stacked(peak(40.5, 71.5)), fusion=fusion)
    assert (one.x, one.y) == (40.5, 71.5)
    assert (one.soft_x, one.soft_y) == pytest.approx((40.5, 71.5), abs=1e-3)
    assert one.peak == pytest.approx(0.5)
    assert (one.round_spread, one.layer_spread) == (0, 0)
    assert one.heat.shape == (HEAT_CELLS, HEAT_CELLS)
    assert divmod(int(one.heat.argmax()), HEAT_CELLS) == (35, 20)


def test_the_centroid_lies_between_pixels() -> None:
    one = found(stacked(peak(40.8, 71.1)))
    assert (one.x, one.y) == (40.5, 71.5)
    assert (one.soft_x, one.soft_y) == pytest.approx((40.8, 71.1), abs=0.05)


def test_the_centroid_leaves_out_what_is_far() -> None:
    both = peak(40.5, 71.5) + peak(100.5, 20.5, height=0.45)
    one = found(stacked(both))
    assert (one.soft_x, one.soft_y) == pytest.approx((40.5, 71.5), abs=0.1)


def test_the_margin_tells_of_a_second_peak() -> None:
    second = found(stacked(peak(30.5, 30.5) + peak(90.5, 90.5, height=0.25)))
    assert second.margin == pytest.approx(2, rel=0.01)
    alone = found(stacked(peak(30.5, 30.5)))
    assert alone.margin == pytest.approx(math.exp(2), rel=0.15)
    flat = found(stacked(torch.full((SIZE, SIZE), 0.1)))
    assert flat.margin == 1
    assert (flat.soft_x, flat.soft_y) != (0, 0)


def test_spreads_tell_how_rounds_and_layers_differ() -> None:
    by_round = found(stacked(peak(30.5, 60.5), peak(50.5, 60.5)))
    assert by_round.round_spread == pytest.approx(10)
    assert by_round.layer_spread == 0
    maps = torch.stack([peak(30.5, 60.5), peak(50.5, 60.5)])[None]
    by_layer = found(maps)
    assert by_layer.layer_spread == pytest.approx(10)
    assert by_layer.round_spread == 0


@pytest.mark.parametrize("fusion", ["softmax", "mean"])
def test_nothing_is_found_in_the_padding(fusion: str) -> None:
    inside = EVERYWHERE.clone()
    inside[:40] = False
    maps = stacked(peak(60.5, 20.5, height=0.9) + peak(80.5, 90.5, height=0.3))
    one = found(maps, inside, fusion=fusion)
    assert (one.x, one.y) == (80.5, 90.5)
    assert (one.soft_x, one.soft_y) == pytest.approx((80.5, 90.5), abs=0.1)
    assert one.peak == pytest.approx(0.3, rel=1e-3)
    assert float(one.heat[:20].max()) == 0
    assert one.round_spread == 0
    whole = found(maps, fusion=fusion)
    assert (whole.x, whole.y) == (60.5, 20.5)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_attention_that_is_not_finite_is_found_nowhere(value: float) -> None:
    maps = stacked(peak(40.5, 71.5), peak(42.5, 71.5))
    maps[:, 1, 3, 5] = value
    one = found(maps)
    figures = (one.x, one.y, one.soft_x, one.soft_y, one.peak, one.margin, one.round_spread, one.layer_spread)
    assert all(math.isnan(figure) for figure in figures)
    assert bool(one.heat.isnan().all())
    assert one.heat.shape == (HEAT_CELLS, HEAT_CELLS)


def test_a_round_that_is_not_finite_does_not_count() -> None:
    maps = stacked(peak(40.5, 71.5), peak(90.5, 20.5))
    maps[1] = torch.nan
    one, alone = found(maps), found(maps[:1])
    assert (one.x, one.y, one.peak, one.round_spread) == (40.5, 71.5, alone.peak, 0)
    assert_close(one.heat, alone.heat)
