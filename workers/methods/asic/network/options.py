"""Settings of the network mode of ASIC (arXiv 2303.16201)."""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.methods.asic.network.objective import Weights

_OFFICIAL_SIZE = 256
_LEAST_SIZE = 16


@dataclass(frozen=True)
class NetworkOptions:
    """How `train` works; begin from `official` or `quality`.

    Raises:
        ValueError: a value outside its range.
    """

    compat: bool
    """Do what the official code does, its quirks included."""
    iterations: int
    batch: int = 20
    """Pictures a step, half of them sources, half targets."""
    image_size: int = 256
    """Side in pixels of the pictures that the network sees, and of the maps."""
    unwarp_size: int = 128
    """Side in pixels at which pictures are compared with the canonical grid."""
    grid_size: int = 256
    """Side of the canonical grid in cells."""
    width: float = 0.5
    """Channels of the U-Net as a share of the usual 64 to 1024."""
    rate: float = 0.003
    """Adam's learning rate, in the first cycle's beginning."""
    period: int = 10_000
    """Steps of the first cycle of the learning rate."""
    weights: Weights = field(default_factory=Weights)
    warp_scale: float = 0.4
    """How far the control points of the random warps may move, in units of half the picture."""
    temperature: float = 1.0
    """Of the distances between matched places."""
    matches: int | None = None
    """The most matches a pair and step; None takes all."""
    patience: int | None = None
    """Looks at the held-out matches without an improvement before the training stops; None runs to the end."""

    def __post_init__(self) -> None:
        least = {"iterations": 0, "batch": 2, "period": 1, "matches": 1, "patience": 1}
        least |= dict.fromkeys(("image_size", "unwarp_size", "grid_size"), _LEAST_SIZE)
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise ValueError(f"{name} is {value}; use at least {lowest}")
        for name in ("width", "rate", "temperature"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use a positive number")
        if self.batch % 2:
            raise ValueError(f"batch is {self.batch}; use an even number, a step takes pairs")
        if self.compat and self.patience is not None:
            raise ValueError("the official training never stops early; use patience=None with compat")


def official(image_size: int = _OFFICIAL_SIZE) -> NetworkOptions:
    """The official configuration; other sizes than 256 shrink or grow everything alike."""
    return NetworkOptions(
        compat=True,
        iterations=20_000,
        image_size=image_size,
        unwarp_size=image_size // 2,
        grid_size=image_size,
        weights=Weights(total_variation=_total_variation(image_size)),
    )


def quality(image_size: int = _OFFICIAL_SIZE // 2) -> NetworkOptions:
    """Fewer and cheaper steps with corrected losses, ended when held-out matches no longer come nearer."""
    iterations = 4_000
    return NetworkOptions(
        compat=False,
        iterations=iterations,
        image_size=image_size,
        unwarp_size=image_size // 2,
        grid_size=image_size,
        period=iterations,
        weights=Weights(total_variation=_total_variation(image_size), folding=1.0),
        temperature=0.3,
        matches=256,
        patience=10,
    )


def _total_variation(image_size: int) -> float:
    """The weight at which the term, of neighbours' differences, counts as much at any size."""
    return Weights.total_variation * (image_size / _OFFICIAL_SIZE) ** 2
