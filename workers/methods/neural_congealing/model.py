"""The parameters of the direct mode, the warps they make, and the state that a run resumes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from workers.geometry.flows import dense_flow, evaluate_flow
from workers.geometry.similarity import compose, identity_matrix, invert, similarity_matrix, transform

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8


@dataclass
class State:
    """Everything that the rest of a run depends on, as tensors.

    Attributes:
        stage, step: () int64, steps done within the stage.
        mirrored: (N,) bool.
        trust: (N,) in [0, 1], evidence of the first alignment for each image relative to the median image's.
        anchored: (N,) bool, images whose warp stays as it is and that alone make the atlas; often none.
        base: (N, 2, 3) similarity atlas -> picture found so far.
        frame: (N, 2, 3) similarity through which features are seen, frame -> picture.
        residual: (N, 4) theta, log scale, tx, ty applied before `base`.
        controls: (N, 2, n, n) flow in the atlas.
        start_residual, start_controls: as the stage began.
        moment1, moment2: Adam's, of the stage's parameters.
        weights: (N,) each image's weight in the atlas.
        cells: (P,) int64, the atlas cells in use at the stage's resolution.
        saliency: (P,) frozen for the stage.
        noise: () power of the features' noise relative to what the images share, as the stage began.
        atlas: (D, P) unit vectors.
        snapshot: (N, P, 2) warp when last looked at.
        curve: (K, 3) stage, step, loss.
    """

    stage: Tensor
    step: Tensor
    mirrored: Tensor
    trust: Tensor
    anchored: Tensor
    base: Tensor
    frame: Tensor
    residual: Tensor
    controls: Tensor
    start_residual: Tensor
    start_controls: Tensor
    moment1: Tensor
    moment2: Tensor
    weights: Tensor
    cells: Tensor
    saliency: Tensor
    noise: Tensor
    atlas: Tensor
    snapshot: Tensor
    curve: Tensor

    @property
    def atlas_weights(self) -> Tensor:
        """How much each image (N,) says about the atlas' features."""
        return torch.where(self.anchored, self.weights, 0.0) if bool(self.anchored.any()) else self.weights

    def tensors(self) -> dict[str, Tensor]:
        """A copy of all tensors by name."""
        return {field.name: getattr(self, field.name).detach().clone() for field in fields(self)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor], device: torch.device) -> State:
        """Inverse of `tensors`.

        Raises:
            ValueError: tensors are missing.
        """
        missing = [field.name for field in fields(cls) if field.name not in tensors]
        if missing:
            raise ValueError(f"the checkpoint lacks {', '.join(missing)}; start the job afresh")
        return cls(**{field.name: tensors[field.name].to(device).clone() for field in fields(cls)})


def initial_state(
    base: Tensor, mirrored: Tensor, trust: Tensor, *, controls: int, anchored: Tensor | None = None
) -> State:
    """The state before the first stage, from similarities (N, 2, 3), flags (N,) and evidence (N,) >= 0."""
    count, device = len(base), base.device
    residual = torch.zeros(count, 4, device=device)
    flow = torch.zeros(count, 2, controls, controls, device=device)
    empty = torch.zeros(0, device=device)
    return State(
        stage=torch.zeros((), dtype=torch.int64),
        step=torch.zeros((), dtype=torch.int64),
        mirrored=mirrored,
        trust=(trust / trust.median().clamp(min=1e-6)).clamp(max=1.0),
        anchored=torch.zeros_like(mirrored) if anchored is None else anchored,
        base=base,
        frame=identity_matrix(count, device=device),
        residual=residual,
        controls=flow,
        start_residual=residual.clone(),
        start_controls=flow.clone(),
        moment1=torch.zeros_like(residual),
        moment2=torch.zeros_like(residual),
        weights=torch.ones(count, device=device),
        cells=torch.zeros(0, dtype=torch.int64, device=device),
        saliency=empty,
        noise=torch.zeros((), device=device),
        atlas=empty,
        snapshot=empty,
        curve=torch.zeros(0, 3),
    )


def residual_matrix(residual: Tensor) -> Tensor:
    """(theta, log scale, tx, ty) (N, 4) to matrices (N, 2, 3)."""
    theta, log_scale, tx, ty = residual.unbind(-1)
    return similarity_matrix(torch.stack([theta, log_scale.exp(), tx, ty], dim=-1))


def atlas_to_frame(state: State, residual: Tensor) -> Tensor:
    """Similarities (N, 2, 3) from the atlas to the frames in which features are seen."""
    return compose(compose(invert(state.frame), state.base), residual_matrix(residual))


def atlas_to_picture(state: State) -> Tensor:
    """Similarities (N, 2, 3) from the atlas to the (mirrored) pictures."""
    return compose(state.base, residual_matrix(state.residual))


def dense_grid(state: State, size: int) -> Tensor:
    """G(p) = M [p + flow(p); 1] at size x size atlas cells, in the (mirrored) pictures: (N, size, size, 2)."""
    axis = (2 * torch.arange(size, device=state.base.device) + 1) / size - 1
    cells = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    return transform(atlas_to_picture(state), cells.unsqueeze(0) + dense_flow(state.controls, size))


def warp_points(state: State, points: Tensor) -> Tensor:
    """Atlas points (P, 2) to the frames in which features are seen, (N, P, 2)."""
    moved = points.unsqueeze(0) + evaluate_flow(state.controls, points)
    return transform(atlas_to_frame(state, state.residual), moved)


def adam_step(state: State, parameters: Tensor, gradient: Tensor, *, rate: float) -> Tensor:
    """One step of Adam (Kingma and Ba, 2015); `state.step` counts the steps done before and the moments are updated."""
    count = int(state.step) + 1
    state.moment1 = _BETA1 * state.moment1 + (1 - _BETA1) * gradient
    state.moment2 = _BETA2 * state.moment2 + (1 - _BETA2) * gradient.square()
    mean, power = state.moment1 / (1 - _BETA1**count), state.moment2 / (1 - _BETA2**count)
    updated: Tensor = parameters - rate * mean / (power.sqrt() + _EPS)
    return updated
