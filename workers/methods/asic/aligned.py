"""What the presets hand on: where the images lie in the canonical plane, and the matches that say so."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from workers.geometry.joint_splines import PairedPoints


@dataclass(frozen=True)
class Training:
    """What is left of a training.

    Attributes:
        grid: (4, g, g), learned colours in [-1, 1] and, as a logit, how much the object is there.
        curve: (K, 3) step, loss, held-out residual.
    """

    grid: Tensor
    curve: Tensor


@dataclass(frozen=True)
class Aligned:
    """N images in the canonical plane.

    Attributes:
        places: (N, h, h, 2) in [-1, 1] of the cells of the frames, which are mirrored where flagged.
        mirrored: (N,) bool.
        matches: of the images, in the same frames; those of weight 0 are padding.
        trust: (P, K) in [0, 1], by how much each match agrees with the places.
        training: of the network, if there was any.
    """

    places: Tensor
    mirrored: Tensor
    matches: PairedPoints
    trust: Tensor
    training: Training | None = None
