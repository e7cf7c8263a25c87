"""Training an adapter on annotated pictures (Telling Left from Right, arXiv 2311.17034)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from workers.methods.geo_aware_adapter.data import TrainingSet
from workers.methods.geo_aware_adapter.draws import Draw, drawn, drop
from workers.methods.geo_aware_adapter.network import Adapter, upsampled
from workers.methods.geo_aware_adapter.objective import Keypoints, Losses, pair_losses
from workers.methods.geo_aware_adapter.options import AdapterOptions
from workers.methods.geo_aware_adapter.passes import learn
from workers.methods.geo_aware_adapter.schedule import rate_and_momentum
from workers.methods.geo_aware_adapter.state import CURVE_COLUMNS, first_state
from workers.methods.hooks import Hooks, Quiet

__all__ = ["CURVE_COLUMNS", "STAGE", "Judge", "TrainedAdapter", "Training", "train"]

STAGE = "training"
LOOKS = 100
LOOKS_A_JUDGEMENT = 5

Judge = Callable[[Adapter], float]
"""How good an adapter is, on pictures it does not learn from; higher is better, nan is worst."""


@dataclass(frozen=True)
class TrainedAdapter:
    """What a training gives.

    Attributes:
        weights: by the official names, float32 on the CPU: the best ones by the judge, without one the last.
        curve: (R, 5), columns as in `CURVE_COLUMNS`: step, means since the row before of the loss, of its sparse
            part and of the mean error in cells (noise included), and the judge's score; nan where one was not measured.
        steps: done.
        best_step: after which the weights were as they are; 0 is the start.
    """

    weights: dict[str, Tensor]
    curve: Tensor
    steps: int
    best_step: int


def train(
    data: TrainingSet,
    options: AdapterOptions,
    *,
    seed: int = 0,
    start: Mapping[str, Tensor] | None = None,
    judge: Judge | None = None,
    hooks: Hooks | None = None,
) -> TrainedAdapter:
    """Train an adapter.

    Args:
        data: pictures to learn from; the training runs on the device of its points.
        options: settings.
        seed: of weights and of all that is drawn.
        start: weights to begin with, by the official names.
        judge: if given, is asked at the start and about twenty times; it must not change what the training draws on.
        hooks: progress, checkpoints, cancellation; told of every step, and between the passes of long ones. On a CPU a
            run resumed from any state ends bit by bit as undisturbed.

    Raises:
        ValueError: no two pictures of a category show a keypoint in common, weights to start with that do not fit, or a
            checkpoint of something else.
        ArithmeticError: the loss is no longer finite.
    """
    hooks = hooks or Quiet()
    with torch.enable_grad():
        training = Training(data, options, seed=seed, start=start, judge=judge)
        if hooks.resume is not None:
            training.state.restore(hooks.resume)
        training.run(hooks)
        return training.outcome()


class Training:
    """A training under way."""

    def __init__(
        self,
        data: TrainingSet,
        options: AdapterOptions,
        *,
        seed: int,
        start: Mapping[str, Tensor] | None = None,
        judge: Judge | None = None,
    ) -> None:
        """Begin with random weights or given ones.

        Raises:
            ValueError: nothing to learn from, or weights that do not fit.
        """
        if not len(data.pairs):
            raise ValueError(
                "no two pictures of one category show a keypoint in common; annotate the same keypoints on more of them"
            )
        self.data, self.options, self.seed, self.judge = data, options, seed, judge
        self.state = first_state(data, options, seed=seed, start=start)
        self.device = data.points.device

    def run(self, hooks: Hooks) -> None:
        """Train from the present state to the end."""
        if self.state.done >= self.options.steps and self.state.done > 0:
            return
        hooks.stage(STAGE)
        if self.judge is not None and self.state.done == 0:
            self._note([math.nan] * 3, self._score(self.judge))
        while self.state.done < self.options.steps:
            self._advance(hooks)

    def outcome(self) -> TrainedAdapter:
        """The best weights where there is a judge, else the last."""
        state = self.state
        judged = bool(state.best[0].isfinite())
        weights = state.best_weights if judged else state.weights()
        return TrainedAdapter(
            weights={name: tensor.float().cpu() for name, tensor in weights.items()},
            curve=state.curve.clone(),
            steps=state.done,
            best_step=int(state.best[1]) if judged else state.done,
        )

    def draw(self, step: int) -> Draw:
        """What a step, from 0, learns from; depends on nothing but the seed and the step."""
        return drawn(self.data, self.options, seed=self.seed, step=step)

    def losses(self, draw: Draw, tick: Callable[[], None] = lambda: None) -> Losses:
        """The loss of a draw; its gradient is added to that of the weights."""
        keypoints = self._keypoints(draw)
        pairing = draw.pairing(self.options.noise, self.device)

        def loss(maps: Tensor) -> Losses:
            return pair_losses(
                maps,
                keypoints,
                pairing,
                self.options.weights,
                self.state.adapter.logit_scale,
                subcell=self.options.subcell,
                temperature=self.options.temperature,
                tick=tick,
            )

        return learn(
            self.state.adapter,
            partial(self._blocks, draw),
            len(keypoints.points),
            self.data.cells,
            loss,
            mixed=self._mixed,
            tick=tick,
        )

    def step(self, draw: Draw, tick: Callable[[], None] = lambda: None) -> Losses:
        """One step of AdamW; the losses before it.

        Raises:
            ArithmeticError: the loss is not finite; the weights are left as they were.
        """
        state = self.state
        state.optimiser.zero_grad(set_to_none=True)
        losses = self.losses(draw, tick)
        if not bool(losses.total.isfinite()):
            raise ArithmeticError(
                f"the loss is no longer finite at step {state.done + 1} of the {STAGE} stage; check that the features "
                "are finite, then use a smaller learning rate or another seed"
            )
        rate, momentum = rate_and_momentum(state.done, self.options)
        for group in state.optimiser.param_groups:
            group["lr"], group["betas"] = rate, (momentum, group["betas"][1])
        state.optimiser.step()
        state.done += 1
        return losses

    def _advance(self, hooks: Hooks) -> None:
        """One step, and a look where it is time."""
        state, total = self.state, self.options.steps
        losses = self.step(self.draw(state.done), lambda: hooks.step(state.done, total, state=state.tensors))
        numbers = torch.stack([losses.total, losses.sparse, losses.dense]).double().cpu()
        state.window += torch.cat([numbers, torch.ones(1, dtype=torch.float64)])
        self._look()
        hooks.step(state.done, total, state=state.tensors, loss=float(numbers[0]), error_cells=float(numbers[2]))

    def _look(self) -> None:
        """Note the means since the last look, and judge the weights, where it is time."""
        state, total = self.state, self.options.steps
        every = math.ceil(total / LOOKS)
        is_last = state.done == total
        if state.done % every and not is_last:
            return
        means = (state.window[:3] / state.window[3]).tolist()
        state.window.zero_()
        judged = self.judge is not None and (is_last or state.done % (every * LOOKS_A_JUDGEMENT) == 0)
        self._note(means, self._score(self.judge) if judged and self.judge is not None else math.nan)

    def _score(self, judge: Judge) -> float:
        """The judge's score; keep the weights if it is the best."""
        state = self.state
        state.adapter.eval()
        with torch.no_grad():
            score = float(judge(state.adapter))
        state.adapter.train()
        if score > float(state.best[0]):
            state.best = torch.tensor([score, state.done], dtype=torch.float64)
            state.best_weights = state.weights()
        return score

    def _note(self, means: list[float], score: float) -> None:
        row = torch.tensor([[float(self.state.done), *means, score]])
        self.state.curve = torch.cat([self.state.curve, row])

    def _keypoints(self, draw: Draw) -> Keypoints:
        data, chosen = self.data, draw.images.to(self.device)
        visible = data.visible[chosen]
        points = data.points[chosen].float().where(visible.unsqueeze(2), 0)
        keypoints = Keypoints(points, visible, data.sides[chosen].float())
        if data.mirrored is None or data.becomes is None or not self.options.mirrors:
            return keypoints
        return keypoints.with_mirrored(data.becomes[chosen], data.cells)

    def _blocks(self, draw: Draw, views: range) -> tuple[Tensor, ...]:
        """Features of some of the pictures and then the mirrored pictures of a draw, some of their values dropped."""
        count, mirrored = len(draw.images), self.data.mirrored
        found = []
        for number, block in enumerate(self.data.blocks):
            rows = [
                (mirrored[number] if view >= count and mirrored is not None else block)[int(draw.images[view % count])]
                for view in views
            ]
            features = torch.stack(rows).to(self.device, torch.float32)
            found.append(upsampled(features, self.data.cells) if self.options.compat else features)
        drop(tuple(found), self.options.dropout, draw.dropout_seed(views.start))
        return tuple(found)

    def _mixed(self) -> AbstractContextManager[None]:
        """Convolutions in bfloat16 where that pays."""
        fast = self.device.type == "cuda" and not self.options.compat
        context: AbstractContextManager[None] = torch.autocast(self.device.type, torch.bfloat16, enabled=fast)
        return context
