"""Settings of shape generation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from workers.methods.congealing_3d.generate.guidance import NEGATIVE_PROMPT, Guidance
from workers.methods.congealing_3d.generate.marching import Marching
from workers.methods.congealing_3d.generate.schedule import FAST_PHASES, OFFICIAL_PHASES, OFFICIAL_STEPS, Phase

FieldKind = Literal["grid", "hash"]

FAST_STEPS = 2_500
_FEW_PICTURES, _FEW_STEPS, _FEW_RATE = 3, 300, 5e-3


@dataclass(frozen=True)
class InversionOptions:
    """How the word for the pictures is learned (textual inversion, arXiv 2208.01618)."""

    steps: int = 1_000
    rate: float = 0.02
    """AdamW's learning rate."""
    batch: int = 4
    """Pictures a step."""
    vectors: int = 1
    """Words that are learned."""
    word: str = "object"
    """What they begin as."""
    jitter: float = 0.1
    """How far crops move and grow, as a share of the picture."""

    def suited_to(self, pictures: int) -> InversionOptions:
        """Fewer and smaller steps for up to three pictures, so that the word does not copy them."""
        if pictures > _FEW_PICTURES:
            return self
        return InversionOptions(
            min(self.steps, _FEW_STEPS), min(self.rate, _FEW_RATE), self.batch, self.vectors, self.word, self.jitter
        )


@dataclass(frozen=True)
class Rates:
    """AdamW's learning rates."""

    grid: float = 0.01
    network: float = 0.001
    background: float = 0.001


PAPER_RATES = Rates(0.001, 0.001, 0.001)
"""Those that the paper itself is said to use; the default is that of MVDream's own code."""


@dataclass(frozen=True)
class DistillationOptions:
    """How the field is learned."""

    steps: int = OFFICIAL_STEPS
    phases: tuple[Phase, ...] = OFFICIAL_PHASES
    kind: FieldKind = "grid"
    """Voxel grids, or the published hashed grids, which are slower in plain PyTorch."""
    cells: tuple[int, ...] = (32, 64, 128)
    """A side, of the voxel grids."""
    rates: Rates = field(default_factory=Rates)
    guidance: Guidance = field(default_factory=Guidance)
    marching: Marching = field(default_factory=Marching)
    negative_prompt: str = NEGATIVE_PROMPT


@dataclass(frozen=True)
class MeshOptions:
    """How the field becomes a mesh."""

    threshold: float = 25.0
    """Density of the surface, per half side of the cube; lowered where the field is too faint for it."""
    coarse: int = 128
    """Places a side at which the object's box is looked for."""
    fine: int = 160
    """Places a side within that box."""


@dataclass(frozen=True)
class GenerateOptions:
    """Settings of `generate_shape`; begin from `official` or `fast`.

    Raises:
        ValueError: a value outside its range.
    """

    inversion: InversionOptions = field(default_factory=InversionOptions)
    distillation: DistillationOptions = field(default_factory=DistillationOptions)
    mesh: MeshOptions = field(default_factory=MeshOptions)
    template: str = "a photo of {}"
    """Prompt; `{}` stands for the learned words."""
    suffix: str = ""
    """What the distillation's prompt ends with, for example `, 3d asset`."""
    picture_size: int = 256
    """Pixels a side of the pictures that the diffusion model sees."""

    def __post_init__(self) -> None:
        if "{}" not in self.template:
            raise ValueError(f"the template {self.template!r} has no place for the learned words; write {{}} there")
        lowest = {
            "inversion.steps": (self.inversion.steps, 0),
            "inversion.batch": (self.inversion.batch, 1),
            "inversion.vectors": (self.inversion.vectors, 1),
            "distillation.steps": (self.distillation.steps, 1),
            "mesh.coarse": (self.mesh.coarse, 8),
            "mesh.fine": (self.mesh.fine, 8),
        }
        for name, (value, least) in lowest.items():
            if value < least:
                raise ValueError(f"{name} is {value}; use at least {least}")
        if self.distillation.phases[0].begins != 0:
            raise ValueError(f"the first phase begins at {self.distillation.phases[0].begins}; it must begin at 0")


def official() -> GenerateOptions:
    """The published number of steps and sizes of pictures."""
    return GenerateOptions()


def fast() -> GenerateOptions:
    """A quarter of the steps, four pictures in each, up to 128 pixels a side."""
    return GenerateOptions(distillation=DistillationOptions(steps=FAST_STEPS, phases=FAST_PHASES))
