import pytest
import torch

from workers.matching.correlation import best_shift, correlate, correlate_directly, spatial_whitening, spectra

GENERATOR = torch.Generator().manual_seed(2)
FIRST = torch.randn(3, 12, 12, generator=GENERATOR)
SECOND = torch.randn(3, 12, 12, generator=GENERATOR)


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, -2), (-6, 5), (6, 6)])
def test_fourier_correlation_is_the_plain_sum(dx: int, dy: int) -> None:
    table = correlate(spectra(FIRST), spectra(SECOND))
    assert float(table[dy, dx]) == pytest.approx(correlate_directly(FIRST, SECOND, dx, dy), abs=1e-3)


@pytest.mark.parametrize("shift", [(0, 0), (4, -3), (-5, 2)])
def test_the_peak_is_at_the_shift(shift: tuple[int, int]) -> None:
    moved = torch.roll(FIRST, shifts=(shift[1], shift[0]), dims=(1, 2))
    value, found = best_shift(correlate(spectra(FIRST), spectra(moved)).unsqueeze(0))
    assert tuple(found[0].int().tolist()) == shift
    assert float(value[0]) > 0.3 * float(FIRST.square().sum())


def test_far_shifts_are_not_considered() -> None:
    table = torch.zeros(1, 18, 18)
    table[0, 0, 9], table[0, 2, 1] = 5.0, 1.0
    value, found = best_shift(table)
    assert float(value[0]) == 1.0
    assert found[0].tolist() == [1.0, 2.0]


def test_whitening_evens_out_the_spectrum() -> None:
    power = spectra(torch.nn.functional.avg_pool2d(FIRST, 3, 1, 1)).abs().square()
    gained = power * spatial_whitening(power).square()
    assert float(gained.std() / gained.mean()) < float(power.std() / power.mean())
