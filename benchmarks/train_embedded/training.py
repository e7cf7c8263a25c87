"""The training itself: losses, optimiser, running mean of the weights, checkpoints."""

from __future__ import annotations

import copy
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, dropout
from torch.nn.utils import clip_grad_norm_

from benchmarks.train_embedded.batches import Chooser, cross_picture_pairs, same_picture_pairs
from benchmarks.train_embedded.contrast import cells_of, contrast, found_matches, known_matches, negatives_of
from benchmarks.train_embedded.pictures import LabelledPictures
from benchmarks.train_embedded.recipe import Recipe
from benchmarks.train_embedded.views import draw_views
from workers.backbones.embedded_network import EmbeddedNetwork, Stages

DROPOUT = 0.3
REPORT_STEPS = 100

Report = Callable[[int, Mapping[str, float]], None]


class Learner(nn.Module):
    """The network, and a classifier on the mean of its coarse stage that only training needs."""

    def __init__(self, recipe: Recipe, classes: int) -> None:
        super().__init__()
        self.network = EmbeddedNetwork(recipe.shape)
        self.classifier = nn.Linear(recipe.shape.coarse, classes)

    def forward(self, inputs: Tensor) -> tuple[Stages, Tensor]:
        """What the network says, and class scores (B, classes)."""
        stages = self.network(inputs)
        pooled = dropout(stages.coarse.mean(dim=(2, 3)), DROPOUT, self.training)
        return stages, self.classifier(pooled)


@dataclass(frozen=True)
class Losses:
    """Of one step; `trusted` is the share of matches across pictures that counted."""

    classification: Tensor
    same_image: Tensor
    detail: Tensor
    cross_image: Tensor
    trusted: Tensor


class Training:
    """Trains step by step; the state can be saved and taken up again.

    Attributes:
        average: the running mean of the network, which is what training is for.
        step: how many were done.
    """

    def __init__(self, pictures: LabelledPictures, recipe: Recipe) -> None:
        """Begin a training; everything is drawn from torch's generator, seeded here."""
        torch.manual_seed(recipe.seed)
        self.recipe, self.step = recipe, 0
        self._pictures = pictures
        self._chooser = Chooser(pictures, recipe)
        self._same, self._cross = same_picture_pairs(recipe), cross_picture_pairs(recipe)
        self._learner = Learner(recipe, len(pictures.classes)).to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self._learner.network).eval().requires_grad_(False)
        self._optimiser = torch.optim.AdamW(_parameter_groups(self._learner, recipe.weight_decay), recipe.learning_rate)

    def run(self, report: Report, *, until: int | None = None) -> None:
        """Train to the recipe's end, or `until` so many steps are done; report every hundred."""
        began, first, sums = time.monotonic(), self.step, defaultdict[str, float](float)
        while self.step < (self.recipe.steps if until is None else until):
            for name, value in vars(self._advance()).items():
                sums[name] += float(value.detach()) / REPORT_STEPS
            if self.step % REPORT_STEPS == 0:
                seconds = (time.monotonic() - began) / (self.step - first)
                report(self.step, {**sums, "seconds_per_step": seconds})
                sums.clear()

    def _advance(self) -> Losses:
        recipe = self.recipe
        for group in self._optimiser.param_groups:
            group["lr"] = recipe.learning_rate_at(self.step)
        losses = self._losses()
        loss = recipe.classification_weight * losses.classification + recipe.same_image_weight * losses.same_image
        loss = loss + recipe.detail_weight * losses.detail
        loss = loss + recipe.cross_image_weight_at(self.step) * losses.cross_image
        loss.backward()
        clip_grad_norm_(self._learner.parameters(), recipe.clip_norm)
        self._optimiser.step()
        self._optimiser.zero_grad()
        self.step += 1
        self._update_average()
        return losses

    def _losses(self) -> Losses:
        recipe = self.recipe
        sizes = recipe.sizes_at(self.step)
        size_px = sizes[int(torch.randint(len(sizes), ()))]
        chosen = self._chooser.draw()
        views = draw_views(
            self._pictures, chosen.pictures, chosen.facing, size_px=size_px, clutter_share=recipe.clutter_share
        )
        stages, scores = self._learner.train()(views.inputs)
        cells, details = cells_of(stages.joined, views), cells_of(stages.detail, views)
        negatives = negatives_of(cells, chosen.families, recipe)
        known = known_matches(cells, self._same, recipe)
        cross, trusted = scores.new_zeros(()), scores.new_zeros(())
        if recipe.cross_image_weight_at(self.step) > 0:
            found = found_matches(cells, self._cross, recipe)
            cross = contrast(cells, self._cross, found, negatives, near=recipe.near_cross, recipe=recipe)
            trusted = found.trusted.float().mean()
        return Losses(
            classification=cross_entropy(scores, chosen.labels, label_smoothing=recipe.label_smoothing),
            same_image=contrast(cells, self._same, known, negatives, near=recipe.near_same, recipe=recipe),
            detail=contrast(
                details,
                self._same,
                known,
                negatives_of(details, chosen.pictures, recipe),
                near=recipe.near_same,
                recipe=recipe,
            ),
            cross_image=cross,
            trusted=trusted,
        )

    @torch.no_grad()
    def _update_average(self) -> None:
        keep = min(self.recipe.average, self.step / (self.step + 19))
        for mean, now in zip(
            self.average.state_dict().values(), self._learner.network.state_dict().values(), strict=True
        ):
            if mean.is_floating_point():
                mean.lerp_(now, 1 - keep)
            else:
                mean.copy_(now)

    def save(self, path: Path) -> None:
        """Write everything that going on needs."""
        state = {
            "step": self.step,
            "learner": self._learner.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "random": torch.get_rng_state(),
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> None:
        """Take up a training of the same recipe where `save` left it."""
        state = torch.load(path, weights_only=True)
        self.step = state["step"]
        self._learner.load_state_dict(state["learner"])
        self.average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])


def _parameter_groups(learner: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Only matrices and kernels decay."""
    large = [parameter for parameter in learner.parameters() if parameter.ndim > 1]
    small = [parameter for parameter in learner.parameters() if parameter.ndim <= 1]
    return [{"params": large, "weight_decay": weight_decay}, {"params": small, "weight_decay": 0.0}]
