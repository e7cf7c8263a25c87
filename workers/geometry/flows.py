"""Smooth displacement fields over [-1, 1]^2 from a small lattice of control values (cubic B-splines).

A field has (count, 2, n, n) control values, in the normalised units of its domain, (x, y) in the second axis. Uniform
cubic B-splines are twice continuously differentiable, so fields and their Jacobians can be read at any point.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_CONTROLS = 4


def spline_basis(points: Tensor, controls: int, *, derivative: int = 0) -> Tensor:
    """Values (P, controls) of the 1D basis functions at points (P,) in [-1, 1], or of a derivative up to the second.

    The domain is split into controls - 3 intervals. Outside it the outermost cubic continues.

    Raises:
        ValueError: fewer than 4 controls.
    """
    if controls < MIN_CONTROLS:
        raise ValueError(f"{controls} control points cannot carry a cubic spline; use at least {MIN_CONTROLS}")
    intervals = controls - 3
    position = (points + 1) * intervals / 2
    first = position.floor().clamp(0, intervals - 1)
    t = position - first
    pieces = _PIECES[derivative](t) * (intervals / 2) ** derivative
    basis = torch.zeros(len(points), controls, dtype=points.dtype, device=points.device)
    columns = first.long().unsqueeze(1) + torch.arange(4, device=points.device)
    return basis.scatter(1, columns, pieces)


def evaluate_flow(controls: Tensor, points: Tensor) -> Tensor:
    """Displacements (N, P, 2) of fields (N, 2, n, n) at points (P, 2)."""
    rows = spline_basis(points[:, 1], controls.shape[2])
    columns = spline_basis(points[:, 0], controls.shape[3])
    return torch.einsum("py,ncyx,px->npc", rows, controls, columns)


def flow_operator(points: Tensor, controls: int) -> Tensor:
    """The matrix (P, n * n) with `flow_operator(points, n) @ controls.reshape(n * n)` = the field at the points.

    The same as `evaluate_flow`, prepared once for many evaluations at fixed points.
    """
    rows = spline_basis(points[:, 1], controls)
    columns = spline_basis(points[:, 0], controls)
    return (rows.unsqueeze(2) * columns.unsqueeze(1)).flatten(1)


def dense_flow(controls: Tensor, size: int) -> Tensor:
    """The fields (N, 2, n, n) at size x size cell centres: (N, size, size, 2)."""
    axis = (2 * torch.arange(size, dtype=controls.dtype, device=controls.device) + 1) / size - 1
    rows, columns = (spline_basis(axis, controls.shape[k]) for k in (2, 3))
    return torch.einsum("ay,ncyx,bx->nabc", rows, controls, columns)


def identity_controls(controls: int) -> Tensor:
    """Control values (2, n, n) of the field whose value at every point is the point."""
    step = 2 / (controls - 3)
    positions = (torch.arange(controls, dtype=torch.float64) - 1) * step - 1
    y, x = torch.meshgrid(positions, positions, indexing="ij")
    return torch.stack([x, y])


def smoothness_operator(controls: int, *, samples_per_interval: int = 4) -> Tensor:
    """The symmetric matrix Q (n * n, n * n) with c^T Q c = mean over the domain of |grad field|^2, per component.

    The mean is over a regular sampling of the domain, dense enough for the spline.
    """
    value, slope, _ = _gramians(controls, samples_per_interval)
    return (torch.kron(slope, value) + torch.kron(value, slope)).float()


def bending_operator(controls: int, *, samples_per_interval: int = 4) -> Tensor:
    """The same for the mean of the squared second derivatives, f_xx^2 + 2 f_xy^2 + f_yy^2: affine fields are free.

    The energy of thin plates (Bookstein, PAMI 11, 1989); float64.
    """
    value, slope, curvature = _gramians(controls, samples_per_interval)
    return torch.kron(curvature, value) + 2 * torch.kron(slope, slope) + torch.kron(value, curvature)


def _gramians(controls: int, samples_per_interval: int) -> tuple[Tensor, ...]:
    """Mean products (n, n) of the basis functions, of their first and of their second derivatives."""
    size = (controls - 3) * samples_per_interval
    axis = (2 * torch.arange(size, dtype=torch.float64) + 1) / size - 1
    bases = (spline_basis(axis, controls, derivative=order) for order in range(3))
    return tuple(basis.T @ basis / size for basis in bases)


def _cubic_pieces(t: Tensor) -> Tensor:
    """The four cubic B-spline weights (P, 4) at offset t within an interval."""
    s = 1 - t
    return torch.stack([s**3, 3 * t**3 - 6 * t**2 + 4, 3 * s**3 - 6 * s**2 + 4, t**3], dim=1) / 6


def _cubic_derivatives(t: Tensor) -> Tensor:
    s = 1 - t
    return torch.stack([-(s**2), 3 * t**2 - 4 * t, -(3 * s**2 - 4 * s), t**2], dim=1) / 2


def _cubic_curvatures(t: Tensor) -> Tensor:
    s = 1 - t
    return torch.stack([s, 3 * t - 2, 3 * s - 2, t], dim=1)


_PIECES = (_cubic_pieces, _cubic_derivatives, _cubic_curvatures)
