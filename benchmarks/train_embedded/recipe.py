"""All choices of a training, and the schedules that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate

from workers.backbones.embedded_network import Shape

RELATED_CALTECH101 = (
    "cougar_body dalmatian Leopards wild_cat llama okapi gerenuk kangaroo elephant rhino stegosaurus brontosaurus",
    "ibis emu flamingo pigeon rooster",
    "butterfly dragonfly mayfly",
    "ant tick scorpion crab crayfish lobster",
    "Faces Faces_easy cougar_face",
    "ketch schooner",
    "minaret pagoda",
    "chair windsor_chair",
    "electric_guitar mandolin",
    "sunflower lotus water_lilly",
    "bass dolphin",
    "car_side Motorbikes",
)
"""Classes whose things have parts in common."""


@dataclass(frozen=True)
class Recipe:
    """What a training does; lengths are in the frame's own unit, in which a picture's longer side spans [-1, 1]."""

    steps: int = 9000
    seed: int = 1
    shape: Shape = field(default_factory=Shape)

    kinds_per_batch: int = 14
    """Each with `pictures_per_kind` pictures and a second view of the first, all mirrored or none."""
    pictures_per_kind: int = 3
    related_share: float = 0.25
    """Of the kinds, how many mix related classes."""
    related: tuple[str, ...] = RELATED_CALTECH101
    sizes_px: tuple[tuple[int, ...], ...] = ((64, 80), (80, 96, 112), (112, 128))
    """Sides of the views to draw from, phase after phase: small pictures first, which cost little."""
    size_shares: tuple[float, ...] = (0.4, 0.4, 0.2)
    """How long the phases last."""
    clutter_share: float = 0.6
    """Of the views, how many show the thing small, on another picture or plain ground."""

    classification_weight: float = 1.0
    same_image_weight: float = 0.5
    detail_weight: float = 0.5
    cross_image_weight: float = 1.0
    label_smoothing: float = 0.1
    queries: int = 64
    """Places of each view that are matched at each step."""
    negatives: int = 12
    """Places of each view that all other kinds are told apart from."""
    temperature: float = 0.07
    window: float = 0.45
    """How far from the same place a match in another image may lie."""
    centre_pull: float = 0.35
    """How much similarity a match loses at the window's border."""
    consensus: bool = True
    """Whether neighbouring cells vote on matches."""
    agreement: float = 0.12
    """How far from where it began a match there and back may end."""
    near_same: float = 0.1
    near_cross: float = 0.16
    """Cells this near to the right one are not held against it."""

    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warm_up_steps: int = 200
    clip_norm: float = 5.0
    cross_image_from: float = 0.04
    cross_image_full: float = 0.2
    """Shares of the training between which the cross-image loss comes in: descriptors must mean something first."""
    average: float = 0.999
    """Of the running mean of the weights, which is what is kept."""

    @property
    def views_per_kind(self) -> int:
        """Pictures and the second view."""
        return self.pictures_per_kind + 1

    def learning_rate_at(self, step: int) -> float:
        """Warm up, then a half cosine down to a two-hundredth."""
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps)) + 0.005
        return self.learning_rate * min(1.0, (step + 1) / self.warm_up_steps) * cosine

    def cross_image_weight_at(self, step: int) -> float:
        """Nothing at first, then rising to the full weight."""
        share = (step / self.steps - self.cross_image_from) / (self.cross_image_full - self.cross_image_from)
        return self.cross_image_weight * min(1.0, max(0.0, share))

    def sizes_at(self, step: int) -> tuple[int, ...]:
        """Sides of the views to draw from."""
        ends = accumulate(self.size_shares)
        return next(
            (sizes for sizes, end in zip(self.sizes_px, ends, strict=True) if step < end * self.steps),
            self.sizes_px[-1],
        )
