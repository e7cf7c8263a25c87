"""Settings of the training of an adapter (Telling Left from Right, arXiv 2311.17034)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from workers.methods.geo_aware_adapter.objective import Weights

Schedule = Literal["one_cycle", "constant"]


@dataclass(frozen=True)
class AdapterOptions:
    """How `train` works; the defaults suit few pictures and a CPU, `official` gives the published settings.

    Raises:
        ValueError: a value outside its range.
    """

    steps: int = 300
    batch_images: int = 4
    """Pictures a step; all their pairs count, each once and in a random direction."""
    learning_rate: float = 5e-3
    """At its highest; few small steps want more than the published 1.25e-3."""
    weight_decay: float = 1e-3
    schedule: Schedule = "one_cycle"
    """`one_cycle` warms up for three tenths of the steps and falls to nothing, the momentum against it."""
    dropout: float = 0.2
    """Share of feature values set to 0 in training."""
    noise: float = 0.1
    """Deviation of the noise on the places to be found, in halves of the target object's longer side."""
    temperature: float = 0.02
    """By which cosines are divided in the softmax over the target."""
    double_flip: float = 1.0
    """Weight of a pair with both pictures mirrored, against 1 of the pair itself."""
    self_flip: float = 0.25
    """Weight of the mirrored source against the source."""
    single_flip: float = 1.0
    """Weight of the mirrored source against the target."""
    width: int = 128
    """A block of as many channels is added as it is, so that it counts for little if its vectors have length 1."""
    hidden: int = 48
    groups: int = 16
    subcell: bool = True
    """Read and find places exactly; False takes whole cells, as officially."""
    compat: bool = False
    """Do as the official code: weight decay on norms and scales too, features dropped after they are upsampled, and
    no reduced precision on a GPU."""

    def __post_init__(self) -> None:
        """Check the ranges."""
        for name, lowest in {"steps": 0, "batch_images": 2, "width": 1, "hidden": 1, "groups": 1}.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} is {getattr(self, name)}; use at least {lowest}")
        for name in ("learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use a positive number")
        for name in ("weight_decay", "noise", "double_flip", "self_flip", "single_flip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}; use 0 or more")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; use 0 up to, but not including, 1")
        if self.schedule not in get_args(Schedule):
            raise ValueError(f"schedule is {self.schedule!r}; use one of {', '.join(get_args(Schedule))}")

    @property
    def weights(self) -> Weights:
        """Of the pairs with mirrored pictures."""
        return Weights(double_flip=self.double_flip, self_flip=self.self_flip, single_flip=self.single_flip)

    @property
    def mirrors(self) -> bool:
        """Whether mirrored pictures count at all."""
        return max(self.double_flip, self.self_flip, self.single_flip) > 0


def official(steps: int, schedule: Schedule = "one_cycle") -> AdapterOptions:
    """The released settings: one pair a step, the single flip off, 768 channels.

    The published trainings take 53,339 pairs twice (SPair-71k, one cycle) or 261 thousand once (AP-10K, constant).
    """
    return AdapterOptions(
        steps=steps,
        batch_images=2,
        learning_rate=1.25e-3,
        schedule=schedule,
        single_flip=0.0,
        width=768,
        hidden=192,
        groups=32,
        subcell=False,
        compat=True,
    )
