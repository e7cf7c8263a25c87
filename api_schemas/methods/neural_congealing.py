"""Parameters of Neural Congealing (arXiv 2302.03956) in its direct mode."""

from typing import Literal

from pydantic import Field

from api_schemas.manifest import ResultForm
from api_schemas.methods.spec import MethodParams, MethodSpec, Stage


class NeuralCongealingParams(MethodParams):
    """Aligns all images to one joint atlas by optimising a similarity and a smooth flow for each image."""

    working_size: int = Field(
        default=256,
        ge=128,
        le=512,
        multiple_of=32,
        description="Longer side, in pixels, at which images are described.",
    )
    atlas_size: int = Field(default=128, ge=64, le=256, multiple_of=32, description="Side of the atlas in cells.")
    feature_dim: int = Field(
        default=64, ge=8, le=256, description="Channels kept of the features by principal component analysis."
    )
    flips: Literal["auto", "off"] = Field(
        default="auto",
        description="`auto` finds the images that must be mirrored; `off` takes all as they are.",
    )
    similarity_steps: int = Field(default=60, ge=1, le=2000, description="Optimisation steps of the similarity stage.")
    flow_steps: int = Field(
        default=100, ge=0, le=5000, description="Optimisation steps of each flow stage; 0 keeps similarities."
    )
    smoothness: float = Field(
        default=0.1, gt=0, le=100, description="Weight of the flow's smoothness; larger is more rigid."
    )


SPEC = MethodSpec(
    id="neural_congealing",
    title="Neural Congealing",
    summary="Aligns a set to a joint atlas: a similarity and a smooth flow per image, optimised on dense features.",
    paper="arXiv:2302.03956",
    version="0.1",
    form=ResultForm.ATLAS,
    params=NeuralCongealingParams,
    min_images=2,
    max_images=60,
    stages=(
        Stage(name="features", share=0.15),
        Stage(name="matches", share=0.2),
        Stage(name="similarity", share=0.2),
        Stage(name="flow", share=0.35),
        Stage(name="export", share=0.1),
    ),
    implementation="workers.methods.neural_congealing.pipeline:NeuralCongealing",
)
