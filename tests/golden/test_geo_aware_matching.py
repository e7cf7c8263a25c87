"""Window soft-argmax as the official code of Telling Left from Right (arXiv 2311.17034) computes it on a tiny input."""

import pytest
import torch
from torch import Tensor

from workers.matching.soft_argmax import Softness, WindowMode, expected_cells, soft_places

SIDE = 8
ABSOLUTE = 1e-4


def correlation() -> Tensor:
    """(64, 8, 8): a bump of its own place for every query, and ripples."""
    s = torch.arange(SIDE * SIDE, dtype=torch.float64).view(-1, 1, 1)
    ty, tx = torch.meshgrid(*[torch.arange(SIDE, dtype=torch.float64)] * 2, indexing="ij")
    cx, cy = (2 * (s % SIDE) + 1) % SIDE + 0.25, (3 * (s // SIDE) + 2) % SIDE - 0.25
    bump = 0.6 * torch.exp(-((tx - cx).square() + (ty - cy).square()) / 8)
    return (bump + 0.05 * torch.sin(0.7 * tx + 1.3 * ty) + 0.01 * torch.cos(0.2 * s)).float()


def read(similarity: Tensor, window: int, mode: WindowMode) -> list[Tensor]:
    """The plain form, and the chunked one: with one channel a query, the queries themselves are the similarities."""
    softness = Softness(temperature=0.02, window=window, window_mode=mode)
    one_hot = torch.eye(SIDE * SIDE).view(-1, SIDE, SIDE)
    return [expected_cells(similarity, softness), soft_places(similarity.flatten(1), one_hot, softness)]


def close(actual: Tensor, expected: object, tolerance: float = ABSOLUTE) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), atol=tolerance, rtol=0)


WHOLE = [(1.031321, 1.294815), (3.061816, 4.788029), (6.987361, 2.715426), (6.997158, 6.980811)]
NARROW = [(1.031242, 1.294303), (3.061769, 4.788070), (6.987365, 2.715448), (6.997159, 6.980812)]


@pytest.mark.parametrize("mode", ["zero", "mask"])
@pytest.mark.parametrize(
    ("window", "sums", "rows"),
    [
        (0, (263.7731, 209.5010), WHOLE),
        (1, (263.7008, 209.3470), NARROW),
        (2, (263.7730, 209.5003), [(1.031320, 1.294814), *WHOLE[1:]]),
    ],
)
def test_expected_places(window: int, sums: tuple[float, float], rows: list[object], mode: WindowMode) -> None:
    for places in read(correlation(), window, mode):
        close(places[[0, 9, 27, 63]], rows)
        close(places.double().sum(dim=0).float(), sums, 64 * 2e-6 + ABSOLUTE)


def test_both_windows_agree_where_peaks_are_high() -> None:
    for window in (1, 2):
        for zero, mask in zip(read(correlation(), window, "zero"), read(correlation(), window, "mask"), strict=True):
            close(zero, mask, 3e-6)


@pytest.mark.parametrize(
    ("window", "mode", "expected"),
    [
        (1, "zero", (5.257935, 3.119535)),
        (1, "mask", (6.608438, 2.837333)),
        (2, "zero", (5.355780, 3.036402)),
        (2, "mask", (6.360601, 2.799999)),
    ],
)
def test_zeros_outside_the_window_leak_where_peaks_are_low(
    window: int, mode: WindowMode, expected: tuple[float, float]
) -> None:
    for places in read(0.1 * correlation(), window, mode):
        close(places[27], expected)
