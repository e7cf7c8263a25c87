import torch

from workers.rendering.colour_map import coloured

LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])


def test_runs_from_dark_violet_to_bright_yellow() -> None:
    ends = coloured(torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(ends[:, 0] * 255, torch.tensor([68.0, 1.0, 84.0]))
    torch.testing.assert_close(ends[:, 1] * 255, torch.tensor([253.0, 231.0, 37.0]))


def test_grows_ever_brighter_in_even_steps() -> None:
    brightness = LUMINANCE @ coloured(torch.linspace(0, 1, 200)).pow(2.2)
    lightness = brightness.pow(1 / 3)
    steps = lightness.diff()
    assert (steps > 0).all()
    assert float(steps.max()) < 3 * float(steps.mean())


def test_keeps_the_shape_and_cuts_what_is_outside() -> None:
    values = torch.tensor([[-1.0, 0.5], [2.0, 1.0]])
    rgb = coloured(values)
    assert rgb.shape == (3, 2, 2)
    torch.testing.assert_close(rgb[:, 1, 0], rgb[:, 1, 1])
    assert (rgb >= 0).all()
    assert (rgb <= 1).all()
