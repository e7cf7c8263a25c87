"""Coarse-to-fine stages of the direct mode and one stage's optimisation."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, normalize

from workers.geometry.coordinates import identity_grid, sample_at
from workers.geometry.flows import flow_operator, smoothness_operator
from workers.geometry.similarity import transform
from workers.methods.neural_congealing.losses import (
    closed_form_atlas,
    data_loss,
    flow_penalty,
    leave_one_out_agreement,
    noise_to_signal,
)
from workers.methods.neural_congealing.model import (
    State,
    adam_step,
    atlas_to_frame,
    atlas_to_picture,
    warp_points,
)
from workers.methods.neural_congealing.options import DirectOptions
from workers.methods.neural_congealing.views import Frame, ImageViews
from workers.saliency.consensus import consensus_saliency

REFRESH_STEPS = 25
_ACTIVE_SALIENCY = 0.05
_MOVE_LIMIT = 2 * 0.25 / 256
_LOSS_LIMIT = 1e-3
_ABSENT_WEIGHT = 0.02
_OUTLIER_SIGMAS = 4.0
_OUTLIER_MIN_GAP = 0.12
_MIN_TRUST = 0.03
_MAD_TO_SIGMA = 1.4826
_NOISE_GAIN = 1.0
_NOISE_LIMIT = 4.0


@dataclass(frozen=True)
class Stage:
    """One optimisation: `controls` 0 optimises the similarities, else flows with that many controls a side."""

    name: str
    resolution: int
    controls: int
    steps: int
    rate: float


FLOW_CONTROLS = 8


def planned_stages(options: DirectOptions, resolution: int) -> list[Stage]:
    """Similarity at half resolution, then flows at half and at full resolution."""
    coarse = max(resolution // 2, 16)
    stages = [Stage("similarity", coarse, 0, options.similarity_steps, 3e-3)]
    if options.flow_steps > 0:
        stages.append(Stage("flow", coarse, FLOW_CONTROLS, options.flow_steps, 5e-3))
        stages.append(Stage("flow", resolution, FLOW_CONTROLS, options.flow_steps, 3e-3))
    return stages


@dataclass(frozen=True)
class Sampled:
    """What the warps read at the stage's cells: features (N, D, P), masks and image area (N, P)."""

    features: Tensor
    masks: Tensor
    valid: Tensor


def read(frame: Frame, points: Tensor) -> Sampled:
    """Read a frame at points (N, P, 2); the features as they are between cells, somewhat shorter than 1."""
    return Sampled(
        sample_at(frame.features, points),
        sample_at(frame.masks, points, padding="zeros").squeeze(1),
        sample_at(frame.valid, points, padding="zeros").squeeze(1),
    )


def read_unit(frame: Frame, points: Tensor) -> Sampled:
    """As `read`, with unit features."""
    sampled = read(frame, points)
    return replace(sampled, features=normalize(sampled.features, dim=1))


def prepare(state: State, stage: Stage, views: ImageViews) -> Frame:
    """Begin a stage: fold the similarity into the base, see the pictures anew, freeze saliency and weights."""
    state.base = atlas_to_picture(state)
    if views.describe is not None:
        state.frame = state.base.clone()
    state.residual = torch.zeros_like(state.residual)
    state.start_residual, state.start_controls = state.residual.clone(), state.controls.clone()
    moments = state.controls if stage.controls else state.residual
    state.moment1, state.moment2 = torch.zeros_like(moments), torch.zeros_like(moments)
    frame = view_frame(state, views)
    freeze_saliency(state, stage, frame, has_masks=views.has_masks)
    return frame


def view_frame(state: State, views: ImageViews) -> Frame:
    """The frame in which the state sees features: pictures as they are, or described through `state.frame`."""
    if views.describe is None:
        return views.oriented(state.mirrored)
    return views.framed(state.frame, state.mirrored)


def freeze_saliency(state: State, stage: Stage, frame: Frame, *, has_masks: bool) -> None:
    """Set the stage's cells, their saliency, the images' weights and the atlas."""
    size = stage.resolution
    points = cell_points(size, torch.arange(size * size, device=state.base.device))
    sampled = read_unit(frame, warp_points(state, points))
    scores = agreement_scores(sampled, state.weights, sampled.masks.mean(dim=0))
    state.weights = torch.where(outliers(scores, state.trust), _ABSENT_WEIGHT, 1.0)
    saliency = atlas_saliency(sampled, state.weights, size, has_masks=has_masks)
    active = max_pool2d((saliency > _ACTIVE_SALIENCY).float().view(1, 1, size, size), 5, 1, 2).flatten() > 0
    state.cells = active.nonzero().squeeze(1)
    state.saliency = saliency[state.cells]
    state.noise = _noise(sampled, state.weights, saliency)
    refresh_atlas(state, stage, frame)


def atlas_saliency(sampled: Sampled, weights: Tensor, size: int, *, has_masks: bool) -> Tensor:
    """Saliency (size * size,) of all cells: the mean warped mask, or where the images agree."""
    inside = weights.unsqueeze(1) * sampled.valid
    if has_masks:
        mean: Tensor = (inside * sampled.masks).sum(dim=0) / inside.sum(dim=0).clamp(min=1e-6)
        covered = sampled.valid.mean(dim=0)
        return mean * (covered > 1 / (2 * len(weights)))
    return consensus_saliency(sampled.features, inside, size)


def agreement_scores(sampled: Sampled, weights: Tensor, saliency: Tensor) -> Tensor:
    """Mean masked cosine (N,) of each image with the weighted mean of the others, over the salient cells."""
    share = weights.unsqueeze(1) * sampled.valid * sampled.masks
    cosine = leave_one_out_agreement(sampled.features, share)
    seen = sampled.valid * sampled.masks
    return (saliency * seen * cosine).sum(dim=1) / saliency.sum().clamp(min=1e-6)


def _noise(sampled: Sampled, weights: Tensor, saliency: Tensor) -> Tensor:
    """Noise-to-signal ratio () of the typical image's features on the salient cells."""
    seen = saliency * sampled.valid * sampled.masks
    cosine = leave_one_out_agreement(sampled.features, weights.unsqueeze(1) * sampled.valid * sampled.masks)
    typical = ((seen * cosine).sum(dim=1) / seen.sum(dim=1).clamp(min=1e-6)).median()
    return noise_to_signal(typical, len(weights))


def outliers(scores: Tensor, trust: Tensor) -> Tensor:
    """Images (N,) that do not belong: no evidence at first, or a score far below the others'.

    Far is 4 robust standard deviations (from the median absolute deviation), and at least 0.12.
    """
    middle = scores.median()
    sigma = _MAD_TO_SIGMA * (scores - middle).abs().median()
    return (scores < middle - torch.clamp(_OUTLIER_SIGMAS * sigma, min=_OUTLIER_MIN_GAP)) | (trust < _MIN_TRUST)


def refresh_atlas(state: State, stage: Stage, frame: Frame) -> None:
    """The closed-form atlas of the present warps."""
    points = cell_points(stage.resolution, state.cells)
    warp = warp_points(state, points)
    sampled = read_unit(frame, warp)
    shares = state.atlas_weights.unsqueeze(1) * sampled.valid * sampled.masks.clamp(min=0.05)
    state.atlas = closed_form_atlas(sampled.features, shares)
    state.snapshot = warp


def cell_points(size: int, cells: Tensor) -> Tensor:
    """Centres (P, 2) of the atlas cells with flat indices (P,) on a size x size lattice."""
    return identity_grid(size, size, device=cells.device).reshape(-1, 2)[cells]


class StageProblem:
    """One stage's objective with what does not change prepared."""

    def __init__(self, stage: Stage, options: DirectOptions, frame: Frame, *, has_masks: bool) -> None:
        self.stage, self.options, self.frame, self.has_masks = stage, options, frame, has_masks
        self.bend = smoothness_operator(stage.controls) if stage.controls else None

    def losses(self, state: State, residual: Tensor, controls: Tensor) -> Tensor:
        """Loss (N,) of each image at these parameters."""
        points = cell_points(self.stage.resolution, state.cells)
        moved = points.unsqueeze(0) + self._flow(points, controls)
        sampled = read(self.frame, transform(atlas_to_frame(state, residual), moved))
        loss = data_loss(
            state.atlas,
            state.saliency,
            sampled.features,
            sampled.masks if self.has_masks else None,
            sampled.valid,
            scale=self.options.robustness,
            mask_weight=self.options.mask_weight,
        )
        if self.bend is None:
            return loss
        options = self.options
        smoothness = options.smoothness * (1 + _NOISE_GAIN * state.noise.clamp(max=_NOISE_LIMIT))
        return loss + flow_penalty(controls, self.bend.to(loss), smoothness=smoothness, magnitude=options.magnitude)

    def step(self, state: State) -> float:
        """One step of full-batch Adam on the similarities or the flows; the mean loss before it."""
        rate = self._rate(int(state.step))
        parameters = (state.controls if self.bend is not None else state.residual).detach().requires_grad_()
        with torch.enable_grad():
            if self.bend is not None:
                loss = self.losses(state, state.residual, parameters)
            else:
                loss = self.losses(state, parameters, state.controls)
            (gradient,) = torch.autograd.grad(loss.sum(), parameters)
        updated = adam_step(state, parameters.detach(), gradient, rate=rate)
        anchored = bool(state.anchored.any())
        if anchored:
            still = state.anchored.view(-1, *[1] * (updated.dim() - 1))
            updated = torch.where(still, parameters.detach(), updated)
        if self.bend is not None:
            state.controls = updated
        else:
            # Without an anchor nothing else keeps the whole set from drifting.
            state.residual = updated if anchored else updated - updated.mean(dim=0, keepdim=True)
        return float(loss.detach().mean())

    def settled(self, state: State, before: float, now: float) -> bool:
        """Whether warps and loss hardly changed since the last look (`state.snapshot`)."""
        warp = warp_points(state, cell_points(self.stage.resolution, state.cells))
        move = (warp - state.snapshot).norm(dim=-1)[state.weights > 0.5]
        still = move.numel() == 0 or float(move.max()) < _MOVE_LIMIT
        return still and abs(before - now) < _LOSS_LIMIT * abs(before)

    def accept(self, state: State) -> None:
        """Take back the stage for images that it made worse, judged on the final atlas."""
        before = self.losses(state, state.start_residual, state.start_controls)
        after = self.losses(state, state.residual, state.controls)
        worse = ~(after <= before)
        state.residual = torch.where(worse.unsqueeze(1), state.start_residual, state.residual)
        state.controls = torch.where(worse.view(-1, 1, 1, 1), state.start_controls, state.controls)

    def _rate(self, step: int) -> float:
        """Cosine decay to a tenth."""
        progress = step / max(1, self.stage.steps)
        return self.stage.rate * (0.1 + 0.45 * (1 + math.cos(math.pi * progress)))

    def _flow(self, points: Tensor, controls: Tensor) -> Tensor:
        operator = flow_operator(points, controls.shape[-1])
        return torch.einsum("pa,nca->npc", operator, controls.flatten(2))
