"""Training the U-Net and the canonical grid of ASIC on one set (arXiv 2303.16201)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workers.methods.asic.network.augmentation import augmented
from workers.methods.asic.network.canonical import identity
from workers.methods.asic.network.data import TrainingSet
from workers.methods.asic.network.objective import Augment, Batch, Distance, Terms, as_they_are, terms
from workers.methods.asic.network.options import NetworkOptions
from workers.methods.asic.network.schedule import learning_rate
from workers.methods.asic.network.spline_warps import SplineWarp, random_shifts, spline_warp
from workers.methods.asic.network.state import first_state
from workers.methods.hooks import Hooks, Quiet

STAGE = "network"
LOOK_STEPS = 25
JUDGE_STEPS = 50
_IMPROVEMENT = 0.01
_SEED_STRIDE = 1_000_003


@dataclass(frozen=True)
class TrainedMaps:
    """What a training gives.

    Attributes:
        flows: (N, S, S, 2), where each pixel lies in the canonical plane; -1 and 1 are the centres of the outermost
            cells of the grid.
        grid: (1, 4, g, g), colours in about [-1, 1] and the object's presence as a logit.
        curve: (K, 3) step, mean loss, and median residual of the held-out matches as a share of their spread; nan
            where one was not measured. Row 0, if matches are held out, is the start.
        stopped_at: steps done. Where matches are held out, flows and grid are those of the best look; if no look was
            better than the start, the flows are the start and the grid is the last.
    """

    flows: Tensor
    grid: Tensor
    curve: Tensor
    stopped_at: int


def train(
    data: TrainingSet,
    options: NetworkOptions,
    *,
    distance: Distance,
    seed: int = 0,
    hooks: Hooks | None = None,
) -> TrainedMaps:
    """Train on a set and return the maps of its pictures.

    Args:
        data: the set, made with the same options.
        options: settings.
        distance: of pictures from what the canonical grid shows; `perceptual_distance` or `pixel_distance`.
        seed: of weights and of all that is drawn.
        hooks: progress, checkpoints, cancellation. On a CPU a run resumed from any state ends bit by bit as
            undisturbed.

    Raises:
        ValueError: a checkpoint of something else.
        ArithmeticError: the loss is no longer finite.
    """
    hooks = hooks or Quiet()
    with torch.enable_grad():
        training = Training(data, options, distance, seed=seed)
        if hooks.resume is not None:
            training.state.restore(hooks.resume)
        training.run(hooks)
        return training.outcome()


class Training:
    """A training under way."""

    def __init__(self, data: TrainingSet, options: NetworkOptions, distance: Distance, *, seed: int) -> None:
        """Begin with a network that moves nothing from where it starts."""
        self.data, self.options, self.distance, self.seed = data, options, distance, seed
        self.device = data.pictures.device
        self.state = first_state(len(data.pictures), options, seed=seed, device=self.device)
        self._fast = self.device.type == "cuda" and not options.compat

    def run(self, hooks: Hooks) -> None:
        """Train from the present state to the end."""
        if self._ended():
            return
        hooks.stage(STAGE)
        if self._judges and self.state.done == 0:
            self._note(math.nan, self._judge())
        while not self._ended():
            self._advance(hooks)

    def outcome(self) -> TrainedMaps:
        """The best maps where matches are held out, else the last; a grid that has not learned is never the best."""
        state = self.state
        flows = state.best_flows if state.best[0].isfinite() else self.flows()
        grid = state.best_grid if state.best[1] > 0 else state.grid
        return TrainedMaps(flows.clone(), grid.detach().clone(), state.curve, state.done)

    def terms(self, batch: Batch, warp: SplineWarp, augment: Augment = as_they_are) -> Terms:
        """All terms of the loss."""
        options = self.options
        return terms(
            self._offsets,
            self.state.grid,
            self._distance,
            batch,
            warp,
            parts_count=self.data.parts_count,
            unwarp_size=options.unwarp_size,
            compat=options.compat,
            temperature=options.temperature,
            augment=augment,
        )

    def step(self, batch: Batch, warp: SplineWarp, augment: Augment = as_they_are) -> Tensor:
        """One step of Adam; the loss before it, without a wait for the device."""
        state, options = self.state, self.options
        loss = self.terms(batch, warp, augment).total(options.weights)
        state.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        state.optimiser.param_groups[0]["lr"] = learning_rate(state.done, base=options.rate, period=options.period)
        state.optimiser.step()
        state.done += 1
        return loss.detach()

    def draw(self, step: int) -> tuple[Batch, SplineWarp, Augment]:
        """What a step, from 0, learns from; depends on nothing but the seed and the step."""
        data, options = self.data, self.options
        generator = torch.Generator().manual_seed(self.seed * _SEED_STRIDE + step)
        pairs = data.pairs(options.batch // 2, generator, compat=options.compat)
        slots = data.slots(pairs, options.matches, generator, compat=options.compat)
        warp = spline_warp(random_shifts(options.batch, options.warp_scale, generator))
        warp = SplineWarp(warp.kernel.to(self.device), warp.affine.to(self.device))
        return data.batch(pairs, slots), warp, partial(augmented, generator=generator, compat=options.compat)

    @torch.no_grad()
    def flows(self) -> Tensor:
        """Canonical places (N, S, S, 2) of all pixels: each picture's on its own, with `compat` all in one batch."""
        pictures = self.data.pictures
        lots = [pictures] if self.options.compat else torch.split(pictures, 1)
        offsets = torch.cat([self._offsets(lot) for lot in lots])
        start = self.data.start
        return offsets + (identity(pictures.shape[-1], device=self.device) if start is None else start)

    @property
    def _judges(self) -> bool:
        return self.data.held_out.images.numel() > 0

    def _ended(self) -> bool:
        patience = self.options.patience
        impatient = patience is not None and float(self.state.best[2]) >= patience
        return impatient or self.state.done >= self.options.iterations

    def _advance(self, hooks: Hooks) -> None:
        """One step, and a look where it is time."""
        state, total = self.state, self.options.iterations
        loss = self.step(*self.draw(state.done))
        state.window += torch.stack([loss.double(), torch.ones_like(loss, dtype=torch.float64)])
        is_last = state.done == total
        metrics = self._look(judged=state.done % JUDGE_STEPS == 0 or is_last) if self._is_due(is_last) else {}
        hooks.step(state.done, total, state=state.tensors, **metrics)

    def _is_due(self, is_last: bool) -> bool:
        return self.state.done % LOOK_STEPS == 0 or is_last

    def _look(self, *, judged: bool) -> Mapping[str, float]:
        """Check the mean loss since the last look and, where wanted, judge the maps."""
        state = self.state
        total, count = map(float, state.window.tolist())
        state.window.zero_()
        loss = total / count
        if not math.isfinite(loss):
            raise ArithmeticError(
                f"the loss is no longer finite at step {state.done} of the {STAGE} stage; "
                "use a smaller learning rate or another seed"
            )
        residual = self._judge() if judged and self._judges else math.nan
        self._note(loss, residual)
        return {"loss": loss} if math.isnan(residual) else {"loss": loss, "residual": residual}

    def _judge(self) -> float:
        """The residual of the held-out matches; keep the maps if it is the best by a hundredth."""
        state, flows = self.state, self.flows()
        residual = self.data.held_out.residual(flows)
        if residual < float(state.best[0]) * (1 - _IMPROVEMENT):
            state.best = torch.tensor([residual, state.done, 0], dtype=torch.float64)
            state.best_flows, state.best_grid = flows, state.grid.detach().clone()
        else:
            state.best[2] += 1
        return residual

    def _note(self, loss: float, residual: float) -> None:
        row = torch.tensor([[float(self.state.done), loss, residual]])
        self.state.curve = torch.cat([self.state.curve, row])

    def _offsets(self, pictures: Tensor) -> Tensor:
        if self._fast:
            pictures = pictures.contiguous(memory_format=torch.channels_last)
        with self._mixed():
            offsets: Tensor = self.state.network(pictures)
        return offsets.to(pictures.dtype)

    def _distance(self, first: Tensor, second: Tensor) -> Tensor:
        with self._mixed():
            return self.distance(first, second)

    def _mixed(self) -> AbstractContextManager[None]:
        """Convolutions in bfloat16 where that pays."""
        context: AbstractContextManager[None] = torch.autocast(self.device.type, torch.bfloat16, enabled=self._fast)
        return context
