"""Similarities of the plane as 2 x 3 matrices [s R(theta) | t] that act on normalised points.

Neural Congealing, arXiv 2302.03956, section 3.1 and its official implementation (the similarity head).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def parameters_from_raw(raw: Tensor) -> Tensor:
    """The network's raw outputs (..., 4) to (theta, scale, tx, ty): theta = pi tanh r0, scale = exp r1."""
    return torch.stack([math.pi * torch.tanh(raw[..., 0]), raw[..., 1].exp(), raw[..., 2], raw[..., 3]], dim=-1)


def similarity_matrix(parameters: Tensor) -> Tensor:
    """(theta in rad, scale, tx, ty) (..., 4) to matrices (..., 2, 3)."""
    theta, scale, tx, ty = parameters.unbind(-1)
    a, b = scale * theta.cos(), scale * theta.sin()
    return torch.stack([torch.stack([a, -b, tx], dim=-1), torch.stack([b, a, ty], dim=-1)], dim=-2)


def similarity_parameters(matrices: Tensor) -> Tensor:
    """Inverse of `similarity_matrix`: (..., 2, 3) to (theta, scale, tx, ty) (..., 4), theta in (-pi, pi]."""
    a, b = matrices[..., 0, 0], matrices[..., 1, 0]
    return torch.stack([torch.atan2(b, a), torch.hypot(a, b), matrices[..., 0, 2], matrices[..., 1, 2]], dim=-1)


def inverse_parameters(parameters: Tensor) -> Tensor:
    """The matrix (..., 2, 3) of the inverse similarity: (1 / s) [R^T | -R^T t]."""
    theta, scale, tx, ty = parameters.unbind(-1)
    a, b = theta.cos() / scale, theta.sin() / scale
    return torch.stack(
        [torch.stack([a, b, -(a * tx + b * ty)], dim=-1), torch.stack([-b, a, b * tx - a * ty], dim=-1)], dim=-2
    )


def invert(matrices: Tensor) -> Tensor:
    """Inverse of affine maps (..., 2, 3)."""
    linear = torch.linalg.inv(matrices[..., :2])
    return torch.cat([linear, -linear @ matrices[..., 2:]], dim=-1)


def compose(outer: Tensor, inner: Tensor) -> Tensor:
    """The affine map (..., 2, 3) that applies `inner` first, then `outer`."""
    linear = outer[..., :2] @ inner[..., :2]
    return torch.cat([linear, outer[..., :2] @ inner[..., 2:] + outer[..., 2:]], dim=-1)


def transform(matrices: Tensor, points: Tensor) -> Tensor:
    """Apply maps (N, 2, 3) to points (N, ..., 2) or to the same points for all, (1, ..., 2)."""
    shape = points.shape
    flat = points.reshape(shape[0], -1, 2)
    moved = flat @ matrices[:, :, :2].transpose(1, 2) + matrices[:, :, 2].unsqueeze(1)
    return moved.reshape(moved.shape[0], *shape[1:])


def identity_matrix(count: int, *, device: torch.device | str = "cpu") -> Tensor:
    """Identity maps (count, 2, 3)."""
    return torch.eye(2, 3, device=device).expand(count, 2, 3).clone()


def to_complex(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Similarities (..., 2, 3) as z -> a z + b over the complex plane z = x + i y."""
    return (
        torch.complex(matrices[..., 0, 0], matrices[..., 1, 0]),
        torch.complex(matrices[..., 0, 2], matrices[..., 1, 2]),
    )


def from_complex(factor: Tensor, shift: Tensor) -> Tensor:
    """z -> factor z + shift as matrices (..., 2, 3)."""
    first = torch.stack([factor.real, -factor.imag, shift.real], dim=-1)
    second = torch.stack([factor.imag, factor.real, shift.imag], dim=-1)
    return torch.stack([first, second], dim=-2)
