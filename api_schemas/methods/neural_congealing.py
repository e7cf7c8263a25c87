"""Parameters of Neural Congealing (arXiv 2302.03956)."""

from typing import Literal

from pydantic import Field

from api_schemas.backbones import BACKBONES, BYTES_PER_VALUE, feature_bytes
from api_schemas.base import Schema
from api_schemas.manifest import ResultForm
from api_schemas.methods.spec import MaskedParams, MethodSpec, Misfit, Stage
from api_schemas.weights import weights_catalogue

_PROCESS_BYTES = 1_100_000_000
_IMAGE_BYTES = 16_000_000
_NETWORK_BYTES = 700_000_000
_ACTIVATION_BYTES = 500_000_000


class NetworkParams(Schema):
    """Of `mode: network`: the training of the paper's networks."""

    preset: Literal["default", "benchmark"] = Field(
        default="default",
        description="`benchmark` is what the authors used for their published scores: rigidity at a quarter, and the "
        "atlas grown image by image.",
    )
    compat: bool = Field(
        default=False,
        description="Review flips as the official code does: the orientation with the smaller loss is taken, however "
        "small the difference.",
    )
    bootstrap_epochs: int = Field(
        default=150, ge=1, le=100_000, description="Passes over the set that train similarities alone; officially 1000."
    )
    flow_epochs: int = Field(
        default=150, ge=0, le=100_000, description="Passes that train the flow too; officially 7001."
    )
    batch: int = Field(default=2, ge=1, le=64, description="Images a step.")
    width: float = Field(
        default=0.125,
        ge=0.0625,
        le=1,
        description="Width of the networks as a share of the official one (43 million weights at 1).",
    )

    def peak_bytes(self) -> float:
        """Estimate the memory of the networks, their gradients and moments, and of a step's activations."""
        return self.width**2 * _NETWORK_BYTES + self.width * self.batch * _ACTIVATION_BYTES


class NeuralCongealingParams(MaskedParams):
    """Aligns all images to one joint atlas by a similarity and a smooth flow for each image."""

    mode: Literal["direct", "network"] = Field(
        default="direct",
        description="`direct` optimises the maps themselves, in seconds; `network` trains the paper's networks, which "
        "takes a GPU.",
    )
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
    reference_image: int | None = Field(
        default=None,
        ge=0,
        description="Index of the image that is to be the atlas: the others are aligned to it alone. Empty lets all "
        "images form the atlas together.",
    )
    start: Literal["auto", "matches", "search"] = Field(
        default="auto",
        description="Of `direct`: how the first alignment is found. `matches` joins feature matches of all pairs; "
        "`search` tries rotations and scales of whole images, which features need that change when an image turns; "
        "`auto` searches with the built-in backbones and only matches features of pretrained networks.",
    )
    similarity_steps: int = Field(
        default=60, ge=1, le=2000, description="Of `direct`: optimisation steps of the similarity stage."
    )
    flow_steps: int = Field(
        default=100,
        ge=0,
        le=5000,
        description="Of `direct`: optimisation steps of each flow stage; 0 keeps similarities.",
    )
    smoothness: float = Field(
        default=0.1, gt=0, le=100, description="Of `direct`: weight of the flow's smoothness; larger is more rigid."
    )
    network: NetworkParams = Field(default_factory=NetworkParams, description="Of `network`: how it is trained.")

    def set_misfits(self, images: int) -> list[Misfit]:
        """Find parameters that do not fit a set of so many images."""
        if self.reference_image is None or self.reference_image < images:
            return []
        detail = f"there is no image {self.reference_image} in a set of {images}; use 0 to {images - 1}"
        return [Misfit(("reference_image",), detail)]

    def peak_bytes(self, images: int) -> int:
        """Estimate the memory that a worker's process needs at most, from measurements with some room."""
        backbone = self.chosen_backbone
        features = feature_bytes(backbone, self.features, self.working_size)
        an_image = 4 * features + _IMAGE_BYTES * (self.working_size / 256) ** 2
        weights = sum(weights_catalogue()[name].bytes for name in BACKBONES[backbone].weights)
        total = _PROCESS_BYTES + weights + images * an_image
        if self.mode == "network":
            keys = 2 * BYTES_PER_VALUE * BACKBONES[backbone].channels * self.atlas_size**2
            total += images * keys + self.network.peak_bytes()
        return round(total)


SPEC = MethodSpec(
    id="neural_congealing",
    title="Neural Congealing",
    summary="Aligns a set to a joint atlas: a similarity and a smooth flow per image, optimised on dense features.",
    paper="arXiv:2302.03956",
    version="0.2",
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
    extendable=True,
    implementation="workers.methods.neural_congealing.pipeline:NeuralCongealing",
)
