"""Settings of the direct mode."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DirectOptions:
    """How `align` works; the defaults suit 2 to 60 images with feature maps of about 64 x 64 cells.

    Raises:
        ValueError: a value outside its range.
    """

    atlas_size: int = 128
    """Side of the atlas in cells."""
    feature_dim: int = 64
    """Channels kept of the features by principal component analysis; features with fewer keep all."""
    whitening: float = 1.0
    """0 keeps the variances of the principal components, 1 makes them equal."""
    flips: bool = True
    """Whether pictures may be found to be mirrored; needs mirrored features or a describer."""
    search: bool | None = None
    """Start from an exhaustive search over rotations and scales instead of feature matches; None does so where there
    is a describer, which the search needs."""
    similarity_steps: int = 60
    flow_steps: int = 100
    """Steps of each flow stage; 0 keeps similarities."""
    smoothness: float = 0.1
    """Weight of the flow's mean squared gradient."""
    magnitude: float = 0.05
    """Weight of the flow's mean squared length."""
    mask_weight: float = 2.0
    """Weight of the agreement of given masks."""
    robustness: float = 1.0
    """Cosine distance at which a cell counts half."""

    def __post_init__(self) -> None:
        at_least("atlas_size", self.atlas_size, 16)
        at_least("feature_dim", self.feature_dim, 2)
        at_least("similarity_steps", self.similarity_steps, 1)
        at_least("flow_steps", self.flow_steps, 0)
        for name in ("smoothness", "magnitude", "mask_weight"):
            at_least(name, getattr(self, name), 0.0)
        if not 0.0 <= self.whitening <= 1.0:
            raise ValueError(f"whitening is {self.whitening}; use 0 to 1")
        if self.robustness <= 0.0:
            raise ValueError(f"robustness is {self.robustness}; use a positive distance")


def at_least(name: str, value: float, limit: float) -> None:
    """Refuse a setting below its limit.

    Raises:
        ValueError: names the setting and the limit.
    """
    if value < limit:
        raise ValueError(f"{name} is {value}; use at least {limit}")
