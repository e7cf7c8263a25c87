"""The official training of ASIC on S8, at the settings at which the official code was measured there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from benchmarks.asic.analytic import SIZE_PX, S8Row, scored, whole_pixels
from workers.evaluation.analytic_matches import paired_points
from workers.evaluation.analytic_set import BACKGROUND, AnalyticSet, analytic_set
from workers.evaluation.formula_weights import fill
from workers.methods.asic.network.data import TrainingSet, training_set
from workers.methods.asic.network.options import NetworkOptions, official
from workers.methods.asic.network.perceptual import Vgg16, perceptual_distance
from workers.methods.asic.network.training import Training
from workers.methods.hooks import Quiet

OUTLIERS = 0.2
FULL_ITERATIONS = 400
BATCH = 8
WIDTH = 0.25
PUBLISHED = S8Row(
    f"official code, {FULL_ITERATIONS} iterations (published, not measured)",
    pairs=[100.0, 99.7, 81.2],
    two_cycles=[100.0, 100.0, 90.4],
    three_cycles=[100.0, 100.0, 75.6],
    cpu_s=347.0,
)


@dataclass(frozen=True)
class OfficialRun:
    """A training, and its CPU seconds at `FULL_ITERATIONS`, measured or extrapolated."""

    row: S8Row
    iterations: int
    full_cpu_s: float

    @property
    def measured(self) -> bool:
        """Whether nothing is extrapolated."""
        return self.iterations == FULL_ITERATIONS


def official_run(iterations: int) -> OfficialRun:
    """Train for so many iterations."""
    drawn = analytic_set(SIZE_PX)
    training = begun(drawn, iterations)
    began = time.process_time()
    training.run(Quiet())
    seconds = time.process_time() - began
    row = official_row(drawn, training.flows(), f"official settings, {iterations} iterations", seconds)
    return OfficialRun(row, iterations, round(seconds / iterations * FULL_ITERATIONS, 1))


def begun(drawn: AnalyticSet, iterations: int) -> Training:
    """The training before its first step; the perceptual network has weights by formula."""
    options = official_options(iterations)
    vgg = Vgg16().eval().requires_grad_(False)
    fill(vgg)
    return Training(official_data(drawn, options), options, partial(perceptual_distance, vgg), seed=0)


def official_options(iterations: int) -> NetworkOptions:
    """The official configuration, smaller in step with the pictures."""
    return replace(official(SIZE_PX), iterations=iterations, batch=BATCH, width=WIDTH)


def official_row(drawn: AnalyticSet, flows: Tensor, name: str, cpu_s: float) -> S8Row:
    """Score flows (N, S, S, 2) as the official code reads them."""
    return scored(drawn, name, whole_pixels(drawn, flows, official=True), cpu_s=round(cpu_s, 1))


def official_data(drawn: AnalyticSet, options: NetworkOptions) -> TrainingSet:
    """The set as the training reads it."""
    pictures = torch.from_numpy(drawn.pictures).permute(0, 3, 1, 2).float()
    parts = torch.from_numpy(drawn.parts)
    return training_set(
        (pictures + 1) / 2,
        torch.from_numpy(drawn.masks).float(),
        torch.where(parts == BACKGROUND, -1, parts),
        paired_points(drawn, OUTLIERS),
        None,
        options,
    )
