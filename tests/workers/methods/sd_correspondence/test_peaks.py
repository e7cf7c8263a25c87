import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.testing import assert_close

from workers.methods.sd_correspondence.peaks import PeakLoss, plain_peak_loss, profile, upsampling

SIZE, SIGMA = 128, 9.0
GRIDS = (4, 4, 5, 8)


def maps(*, items: int = 3, tokens: int = 2) -> list[Tensor]:
    source = torch.Generator().manual_seed(0)
    return [torch.rand(items, tokens, side, side, generator=source).requires_grad_() for side in GRIDS]


def centres(*, items: int = 3, tokens: int = 2) -> Tensor:
    """Some in the picture, some on its rim, some outside."""
    source = torch.Generator().manual_seed(1)
    places = torch.rand(items, tokens, 2, generator=source) * 1.4 * SIZE - 0.2 * SIZE
    places[0, 0] = torch.tensor([0.0, SIZE])
    return places


@pytest.mark.parametrize("half_pixel", [False, True])
def test_the_closed_form_is_the_plain_loss(*, half_pixel: bool) -> None:
    closed = PeakLoss(SIZE, SIGMA, half_pixel=half_pixel)(maps(), centres())
    plain = plain_peak_loss(maps(), centres(), SIZE, SIGMA, half_pixel=half_pixel)
    assert closed.shape == (3, 2)
    assert_close(closed, plain, rtol=1e-5, atol=1e-7)


def test_the_closed_form_has_the_plain_losses_gradient() -> None:
    weights = torch.tensor([[1.0, 2.0], [0.5, 0.0], [3.0, 1.0]])
    attended = maps()
    plain = plain_peak_loss(attended, centres(), SIZE, SIGMA, half_pixel=True)
    expected = torch.autograd.grad((plain * weights).sum(), attended)
    closed = PeakLoss(SIZE, SIGMA, half_pixel=True)(attended, centres())
    found = torch.autograd.grad((closed * weights).sum(), attended)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-8)
    assert all(float(one[1, 1].abs().max()) == 0 for one in found)


def test_no_attention_has_the_loss_of_nothing() -> None:
    loss = PeakLoss(SIZE, SIGMA, half_pixel=False)
    nothing = [torch.zeros(3, 2, side, side) for side in GRIDS]
    assert_close(loss.of_nothing(centres()), loss(nothing, centres()), rtol=1e-6, atol=0)


def test_attention_like_the_wanted_peak_has_the_least_loss() -> None:
    loss = PeakLoss(SIZE, SIGMA, half_pixel=True)
    centre = torch.tensor([[[40.0, 70.0]]])
    peaks = {shift: profile(centre[0, 0] + shift, SIZE, SIGMA, half_pixel=True) for shift in (-2.0, 0.0, 2.0)}
    losses = {
        shift: float(loss([(down[:, None] * across)[None, None]], centre)) for shift, (across, down) in peaks.items()
    }
    assert losses[0.0] == pytest.approx(0, abs=1e-8)
    assert min(losses[-2.0], losses[2.0]) > 1e-5


@pytest.mark.parametrize(("half_pixel", "highest"), [(False, 40), (True, 39)])
def test_peaks_are_read_at_corners_or_centres_of_pixels(*, half_pixel: bool, highest: int) -> None:
    values = profile(torch.tensor(40.0), SIZE, SIGMA, half_pixel=half_pixel)
    assert int(values.argmax()) == highest
    assert (float(values.max()) == 1.0) is not half_pixel
    assert_close(values[39], values[40] if half_pixel else values[41], rtol=1e-6, atol=0)


@pytest.mark.parametrize(("cells", "pixels"), [(8, 128), (7, 100), (16, 477), (4, 4)])
def test_the_matrix_enlarges_as_torch_does(cells: int, pixels: int) -> None:
    values = torch.rand(cells, cells, generator=torch.Generator().manual_seed(2))
    matrix = upsampling(cells, pixels)
    expected = interpolate(values[None, None], (pixels, pixels), mode="bilinear", align_corners=False)[0, 0]
    assert_close(matrix @ values @ matrix.T, expected, rtol=1e-5, atol=1e-6)
