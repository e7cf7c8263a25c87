"""Frames, mirrors and turns of the official code of Telling Left from Right (2311.17034), and how ours differ."""

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.keypoints.tables import named_schema
from workers.evaluation.official_pose import SIZE, canonical_points, mirrored_points, patch_ids, turned
from workers.geometry.coordinates import normalised_to_pixels, pixels_to_normalised
from workers.geometry.letterbox import Letterbox
from workers.methods.geo_aware.keypoint_mode import merged
from workers.methods.geo_aware.variants import VARIANTS, picture, to_variant

WIDE, TALL = (500, 332), (333, 500)
POINTS = torch.tensor([[10.0, 20.0], [300.0, 150.0]], dtype=torch.float64)
SWAP = torch.tensor([1, 0])


def close(actual: Tensor, expected: object, tolerance: float = 1e-4) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected, dtype=actual.dtype), atol=tolerance, rtol=0)


def drawn(height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A picture with no symmetry."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(0.11 * x + 0.05 * y), np.cos(0.07 * y - 0.02 * x), np.sin(0.001 * x * y)]
    return np.round(127 + 120 * np.stack(waves, axis=2)).astype(np.uint8)


def test_points_in_the_canonical_frame() -> None:
    close(canonical_points(POINTS, *WIDE), [[16.8, 174.6], [504.0, 393.0]])
    close(canonical_points(POINTS[:1], *TALL), [[156.8, 33.6]])
    assert Letterbox(*WIDE, SIZE).offset == (0, 141)
    assert Letterbox(*TALL, SIZE).offset == (140, 0)


def test_patches_of_points() -> None:
    assert patch_ids(canonical_points(POINTS, *WIDE)).tolist() == [721, 1716]


def test_mirrored_points_change_places() -> None:
    close(mirrored_points(canonical_points(POINTS, *WIDE), SWAP), [[336.0, 393.0], [823.2, 174.6]])


@pytest.mark.parametrize("size", [WIDE, TALL])
def test_our_frame_spreads_the_rounding_of_the_shorter_side(size: tuple[int, int]) -> None:
    """Ours ends where the scaled picture ends; the official one is up to half a pixel off there."""
    corners = torch.tensor([[0.0, 0.0], [float(size[0]), float(size[1])]], dtype=torch.float64)
    box = Letterbox(*size, SIZE)
    gaps = box.to_frame(corners) - canonical_points(corners, *size)
    close(gaps[0], [0.0, 0.0])
    ends = torch.tensor([box.inner_width, box.inner_height]) - SIZE / max(size) * corners[1]
    assert 0 < ends.abs().max() <= 0.5
    close(gaps[1], ends)


def test_our_mirror_is_the_official_one_in_continuous_pixels() -> None:
    framed = canonical_points(POINTS, *WIDE)
    normalised = to_variant(pixels_to_normalised(framed, width=SIZE, height=SIZE), VARIANTS["flip"])
    ours = normalised_to_pixels(normalised, width=SIZE, height=SIZE)
    close(ours[SWAP], mirrored_points(framed, SWAP))


def test_turning_by_nothing_repeats_the_edge() -> None:
    given = drawn(50, 70)
    result = turned(given, 0)
    assert result.shape == (70, 70, 3)
    assert np.array_equal(result[10:60], given)
    assert np.array_equal(result[:10], np.repeat(given[:1], 10, axis=0))
    assert np.array_equal(result[60:], np.repeat(given[-1:], 10, axis=0))


def ours(given: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], name: str) -> Tensor:
    return picture(torch.from_numpy(given).permute(2, 0, 1).float(), VARIANTS[name]).permute(1, 2, 0)


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_quarter_turns_are_the_official_ones_where_the_margin_is_even(degrees: int) -> None:
    """A side of 100 pixels is widened by 42; where the widening is odd, the official turn is off by a pixel."""
    assert np.array_equal(ours(drawn(100, 100), f"rot{degrees}").numpy(), turned(drawn(100, 100), degrees))
    uneven = drawn(64, 64)
    assert not np.array_equal(ours(uneven, "rot180").numpy(), turned(uneven, 180))
    assert np.array_equal(ours(uneven, "rot180").numpy()[:-1, :-1], turned(uneven, 180)[1:, 1:])


@pytest.mark.parametrize("degrees", [30, -30, 45, -45])
def test_other_turns_differ_by_the_way_pixels_are_read(degrees: int) -> None:
    """Official turns take the nearest pixel, ours are bilinear; both turn the same way about the same centre."""
    given = drawn(100, 100)
    official = torch.from_numpy(turned(given, degrees)).float()
    middle = slice(30, 70)
    inner = (ours(given, f"rot{degrees}") - official)[middle, middle].abs()
    other = (ours(given, f"rot{-degrees}") - official)[middle, middle].abs()
    assert inner.mean() < 3 < 30 < other.mean()


def test_only_pairs_seen_in_both_images_take_the_prediction_of_the_mirror_image() -> None:
    source, target = torch.tensor([1, 1, 1, 0, 1]).bool(), torch.tensor([1, 1, 1, 1, 0]).bool()
    native, flipped = torch.zeros(5, 2), torch.ones(5, 2)
    places, used = merged(native, flipped, source, target, torch.tensor([1, 0, 3, 2, 4]))
    assert used.tolist() == [True, True, False, False, False]
    assert places[:, 0].tolist() == [1, 1, 0, 0, 0]


def test_pairs_of_which_one_is_hidden_are_not_swapped() -> None:
    schema = named_schema("spair71k/dog")
    becomes = torch.tensor(schema.permutation)
    seen = torch.ones(len(becomes), dtype=torch.bool)
    seen[[3, 9]] = False
    numbers = torch.arange(len(becomes)).unsqueeze(1).expand(-1, 2).float()
    swapped, _ = merged(numbers, numbers[becomes], seen, None, becomes)
    assert swapped[:, 0].tolist() == [1, 0, 2, 3, 5, 4, 6, 7, 8, 9, 10, 12, 11, 13, 14, 15]
