"""A job's parameters as the parts of the method take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from api_schemas.methods.sd_correspondence import FRAME, SdCorrespondenceParams
from workers.backbones.identity import settled

if TYPE_CHECKING:
    from workers.backbones.diffusion.attention import HeadChoice


@dataclass(frozen=True, kw_only=True)
class Options:
    """How embeddings are optimised and read; lengths in pixels of the square. See `Tuning` for each."""

    size: int
    rounds: int
    steps: int
    learning_rate: float
    stop_early: bool
    sigma: float
    crop_percent: float
    crop_bank: int
    read_crops: int
    adaptive: bool
    optimise_timestep: int
    read_timestep: int
    noise: Literal["uniform", "gaussian", "none"]
    heads: HeadChoice
    fusion: Literal["softmax", "mean"]
    half_pixel: bool
    points_per_embedding: int
    fixed_features: bool

    @property
    def shares_draws(self) -> bool:
        """Whether the rounds of a query look at the same crops under the same noise, step by step."""
        return self.crop_bank > 0

    @property
    def grouping_distance(self) -> float:
        """Points that share an embedding are at least so far apart: they compete for every place."""
        return 3 * self.sigma


def options_of(params: SdCorrespondenceParams) -> Options:
    """Translate a job's parameters, complete ones."""
    tuning = params.tuning
    return Options(
        size=params.working_size,
        rounds=settled(tuning.rounds),
        steps=settled(tuning.steps),
        learning_rate=settled(tuning.learning_rate),
        stop_early=settled(tuning.stop_early),
        sigma=tuning.sigma * params.working_size / FRAME,
        crop_percent=tuning.crop_percent,
        crop_bank=settled(tuning.crop_bank),
        read_crops=tuning.read_crops,
        adaptive=tuning.read_anchors == "adaptive",
        optimise_timestep=tuning.optimise_timestep,
        read_timestep=tuning.read_timestep,
        noise=tuning.noise,
        heads=tuning.heads,
        fusion=tuning.fusion,
        half_pixel=settled(tuning.half_pixel),
        points_per_embedding=settled(tuning.points_per_embedding),
        fixed_features=settled(tuning.fixed_features),
    )
