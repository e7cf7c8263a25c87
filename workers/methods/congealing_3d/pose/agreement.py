"""Poses on which the images agree: each image's features, carried onto the shape, shall be like those of the others.

A shape drawn by a computer looks unlike photographs, and a bench has no front. What photographs show at one place of
the shape is alike when all poses are right, so the images can decide together between poses that fit alike.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

_ROUNDS = 6
_LEAST_POINTS = 30


def agreeing_choice(lifted: Tensor, visible: Tensor, scores: Tensor, *, weight: float = 1.0) -> tuple[Tensor, Tensor]:
    """Choose a pose for each image by its own score and by likeness to what the other images show.

    Begins with each image's best pose and lets the images change their minds, all at once, until none does.

    Args:
        lifted: (N, M, P, C) unit features of P points of the surface as image n shows them at its pose m; 0 unseen.
        visible: (N, M, P) bool.
        scores: (N, M) of the poses by themselves; -inf for poses that do not exist.
        weight: of the likeness.

    Returns:
        The choice (N,), and the scores (N, M) with the likeness added.
    """
    count = len(scores)
    everyone = torch.arange(count, device=scores.device)
    choice, together = scores.argmax(dim=1), scores
    if count < 3:
        return choice, together
    for _ in range(_ROUNDS):
        together = scores + weight * _likeness(lifted, visible, choice)
        found = together.argmax(dim=1)
        if bool((found == choice).all()):
            break
        # Half of them at a time: two that contradict each other would else change places for ever.
        better = together[everyone, found] - together[everyone, choice]
        changing = better >= better[found != choice].median()
        choice = torch.where(changing, found, choice)
    return choice, together


def _likeness(lifted: Tensor, visible: Tensor, choice: Tensor) -> Tensor:
    """Mean cosines (N, M) with the mean of the others over points that both show.

    Where there are too few, the image's mean.
    """
    everyone = torch.arange(len(choice), device=choice.device)
    chosen = lifted[everyone, choice]
    total = chosen.sum(dim=0)
    seen_by = visible[everyone, choice].sum(dim=0)
    likeness = []
    for image in range(len(choice)):
        others = normalize(total - chosen[image], dim=-1)
        shared = visible[image] & (seen_by - visible[image, choice[image]].long() > 0)
        cosine = (lifted[image] * others).sum(dim=-1) * shared
        points = shared.sum(dim=1)
        mean = cosine.sum(dim=1) / points.clamp_min(1)
        told = points >= _LEAST_POINTS
        # A pose that shares nothing with the others is neither better nor worse for it.
        neutral = mean[told].mean() if bool(told.any()) else mean.new_zeros(())
        likeness.append(torch.where(told, mean, neutral))
    return torch.stack(likeness)
