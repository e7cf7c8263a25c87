import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.geometry.similarity import (
    compose,
    from_complex,
    identity_matrix,
    inverse_parameters,
    invert,
    similarity_matrix,
    similarity_parameters,
    to_complex,
    transform,
)

SHIFT = st.floats(-2, 2)
PARAMETERS = st.tuples(st.floats(-3.1, 3.1), st.floats(0.25, 4), SHIFT, SHIFT)
POINTS = torch.tensor([[[-0.4, 0.9], [0.3, -0.2], [1.5, 0.0]]])


def matrix(parameters: tuple[float, ...]) -> torch.Tensor:
    return similarity_matrix(torch.tensor([parameters], dtype=torch.float64))


@given(PARAMETERS)
def test_parameters_come_back(parameters: tuple[float, ...]) -> None:
    torch.testing.assert_close(
        similarity_parameters(matrix(parameters))[0], torch.tensor(parameters, dtype=torch.float64)
    )


@given(PARAMETERS)
def test_inverse_undoes(parameters: tuple[float, ...]) -> None:
    forward = matrix(parameters)
    torch.testing.assert_close(inverse_parameters(torch.tensor([parameters], dtype=torch.float64)), invert(forward))
    torch.testing.assert_close(compose(invert(forward), forward), identity_matrix(1).double())


@given(PARAMETERS, PARAMETERS)
def test_composition_is_one_after_the_other(outer: tuple[float, ...], inner: tuple[float, ...]) -> None:
    stepwise = transform(matrix(outer), transform(matrix(inner), POINTS.double()))
    torch.testing.assert_close(transform(compose(matrix(outer), matrix(inner)), POINTS.double()), stepwise)


@given(PARAMETERS)
def test_complex_form_is_the_same_map(parameters: tuple[float, ...]) -> None:
    forward = matrix(parameters)
    factor, shift = to_complex(forward)
    torch.testing.assert_close(from_complex(factor, shift), forward)
    moved = factor * torch.complex(POINTS[0, :, 0].double(), POINTS[0, :, 1].double()) + shift
    torch.testing.assert_close(torch.view_as_real(moved), transform(forward, POINTS.double())[0])


def test_quarter_turn_is_clockwise_on_the_screen() -> None:
    turned = transform(matrix((math.pi / 2, 1.0, 0.0, 0.0)), torch.tensor([[[1.0, 0.0]]]).double())
    torch.testing.assert_close(turned, torch.tensor([[[0.0, 1.0]]]).double())
