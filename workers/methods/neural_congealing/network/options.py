"""Settings of the network mode; the defaults are the official configuration of Neural Congealing (arXiv 2302.03956)."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from workers.methods.neural_congealing.options import at_least

FLOW_SIZES = (32, 64, 128)
_RIGIDITY_SPAN = 20 / 128
_LONGEST_REVIEW_EPOCHS = 100
_FULL_WIDTH_RATE = 1e-4


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses; see `objective`.

    Raises:
        ValueError: a negative weight.
    """

    keys_mse: float = 3500
    keys_cosine: float = 4000
    saliency: float = 5000
    sparsity: float = 450
    keys_l1: float = 10
    centre: float = 3000
    scale: float = 800
    flow: float = 8000
    rigidity_local: float = 100
    rigidity_global: float = 350

    def __post_init__(self) -> None:
        for field in fields(self):
            at_least(f"weights.{field.name}", getattr(self, field.name), 0)


PRESET_WEIGHTS = {
    "default": LossWeights(),
    "benchmark": LossWeights(rigidity_local=25, rigidity_global=90),
}


@dataclass(frozen=True)
class NetworkOptions:
    """How `train` works.

    Raises:
        ValueError: a value outside its range, or sizes that do not fit each other.
    """

    image_size: int = 256
    """Side in pixels of the pictures that the networks see: `flow_size` times a power of two."""
    atlas_size: int = 128
    """Side of the atlas in cells."""
    flow_size: int = 128
    """Side of the flows in cells: 32, 64 or 128."""
    width: float = 1.0
    """Share of the official networks' channels."""
    preset: Literal["default", "benchmark"] = "default"
    """`benchmark` has weaker rigidity and grows the atlas image by image."""
    weights: LossWeights | None = None
    """Of the losses; None takes the preset's."""
    compat: bool = False
    """Judge flips by plain comparison, as the official code does."""
    bootstrap_epochs: int = 1000
    """Passes over the set that train the similarities and the atlas alone."""
    flow_epochs: int = 7001
    """Passes that train the flow too."""
    batch: int = 2
    flips: bool = False
    """Find out which pictures to mirror; needs features of the mirrored pictures."""
    reference: int | None = None
    """An image whose features and mask are the atlas, which is then not optimised."""
    network_rate: float | None = None
    """Adam's learning rate of the networks; None: 1e-4 at full width, officially, and in inverse proportion more for
    narrower ones, which then need a fraction of the passes."""
    atlas_rate: float = 8e-4
    """Adam's learning rate of the atlas."""
    flip_epochs: int | None = None
    """Passes between two reviews of the flips; None: 100, officially, or a third of a shorter bootstrap."""
    gradual_epochs: int | None = None
    """Passes between two images' joining the atlas; None: 100, officially, or fewer, so that all have joined at half
    time."""
    mixed_precision: bool = True
    """Run the convolutions in bfloat16 where the device is a GPU."""
    compiled: bool = False
    """Compile the networks where the device is a GPU; pays for long trainings."""

    def __post_init__(self) -> None:
        for name in ("batch", "bootstrap_epochs"):
            at_least(name, getattr(self, name), 1)
        for name in ("flow_epochs", "reference"):
            at_least(name, getattr(self, name) or 0, 0)
        for name in ("flip_epochs", "gradual_epochs"):
            value = getattr(self, name)
            at_least(name, 1 if value is None else value, 1)
        at_least("atlas_size", self.atlas_size, 16)
        for name in ("width", "network_rate", "atlas_rate"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is {value}; use a positive number")
        if self.flow_size not in FLOW_SIZES:
            raise ValueError(f"flow_size is {self.flow_size}; use {', '.join(map(str, FLOW_SIZES))}")
        factor, rest = divmod(self.image_size, self.flow_size)
        if rest or factor < 1 or factor & (factor - 1):
            raise ValueError(f"image_size is {self.image_size}; use {self.flow_size} times 1, 2, 4, ...")

    @property
    def loss_weights(self) -> LossWeights:
        """The weights in force."""
        return self.weights or PRESET_WEIGHTS[self.preset]

    @property
    def rate(self) -> float:
        """The learning rate of the networks in force."""
        return _FULL_WIDTH_RATE / self.width if self.network_rate is None else self.network_rate

    @property
    def gradual(self) -> bool:
        """Whether the atlas grows image by image; not if it is fixed."""
        return self.preset == "benchmark" and self.reference is None

    @property
    def rigidity_span(self) -> int:
        """Cells between which global rigidity is measured: 20 of 128."""
        return max(1, round(self.atlas_size * _RIGIDITY_SPAN))

    @property
    def flip_interval(self) -> int:
        """Passes between two reviews of the flips."""
        return self.flip_epochs or max(1, min(_LONGEST_REVIEW_EPOCHS, self.bootstrap_epochs // 3))

    def gradual_interval(self, images: int) -> int:
        """Passes between two images' joining the atlas of so many images."""
        half_time = (self.bootstrap_epochs + self.flow_epochs) // 2
        return self.gradual_epochs or max(1, min(_LONGEST_REVIEW_EPOCHS, half_time // images))
