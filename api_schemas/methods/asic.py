"""Parameters of ASIC (arXiv 2303.16201)."""

from typing import Literal

from pydantic import Field

from api_schemas.backbones import BACKBONES, feature_bytes
from api_schemas.base import Schema
from api_schemas.manifest import ResultForm
from api_schemas.methods.spec import MaskedParams, MethodSpec, Stage
from api_schemas.weights import weights_catalogue

Preset = Literal["draft", "quality", "parity"]
Reconstruction = Literal["pixels", "vgg16"]

_PROCESS_BYTES = 1_100_000_000
_IMAGE_BYTES = 40_000_000
_SPLINE_VALUES = 64
_MATRICES = 6
_MATCH_BYTES = 1_500
_PICTURE_BYTES = 550_000_000
_OFFICIAL_SIZE = 256
_OFFICIAL_WIDTH = 0.5
_NETWORK_SIZES: dict[Preset, int] = {"draft": 0, "quality": 128, "parity": 256}


class NetworkParams(Schema):
    """Of the presets `quality` and `parity`: the training of the paper's network. What is empty, the preset chooses."""

    iterations: int | None = Field(
        default=None, ge=1, le=100_000, description="Training steps; `quality` 4000, `parity` 20000."
    )
    batch: int = Field(default=20, ge=2, le=64, multiple_of=2, description="Images a step: half as many pairs.")
    width: float = Field(
        default=0.5, ge=0.0625, le=1, description="Channels of the U-Net as a share of the usual 64 to 1024."
    )
    image_size: int | None = Field(
        default=None,
        ge=64,
        le=512,
        multiple_of=32,
        description="Side in pixels at which the network sees images; `quality` 128, `parity` 256.",
    )
    reconstruction: Reconstruction | None = Field(
        default=None,
        description="What images are compared with the canonical grid by: `vgg16`, features of a network whose "
        "weights must be at hand, as `parity` does, or `pixels`, colours and their gradients, as `quality` does.",
    )


class AsicParams(MaskedParams):
    """Maps every pixel of all images to one canonical plane, from matches between the images."""

    preset: Preset = Field(
        default="draft",
        description="`draft` fits smooth maps to the matches, in seconds; `quality` then trains the paper's network "
        "on top of them; `parity` trains it exactly as the authors do. Both trainings take a GPU.",
    )
    working_size: int = Field(
        default=256,
        ge=128,
        le=512,
        multiple_of=32,
        description="Longer side, in pixels, at which images are described.",
    )
    atlas_size: int = Field(
        default=128, ge=64, le=256, multiple_of=32, description="Side of the canonical square in cells."
    )
    matches: int = Field(
        default=300,
        ge=16,
        le=4000,
        description="Of `draft` and `quality`: the most similar so many matches of each pair of images are taken.",
    )
    partners: int = Field(
        default=20,
        ge=2,
        le=59,
        description="Of `draft` and `quality`: with at least so many others each image is matched, if there are.",
    )
    stiffness: float = Field(
        default=2e-4,
        gt=0,
        le=100,
        description="Of `draft` and `quality`: weight of the maps' bending; larger keeps them nearer to affine maps.",
    )
    flips: Literal["auto", "off"] = Field(
        default="auto",
        description="Of `draft` and `quality`: `auto` finds the images that must be mirrored; `off` takes all as they "
        "are, as `parity` does.",
    )
    num_parts: int = Field(default=4, ge=2, le=16, description="Parts into which the objects are divided, at most.")
    network: NetworkParams = Field(
        default_factory=NetworkParams, description="Of `quality` and `parity`: how the network is trained."
    )

    @property
    def reconstruction(self) -> Reconstruction:
        """What the training compares images with the canonical grid by."""
        return self.network.reconstruction or ("vgg16" if self.preset == "parity" else "pixels")

    def extra_weights(self) -> tuple[str, ...]:
        """Name the perceptual network, where one is asked for."""
        return ("vgg16",) if self.preset != "draft" and self.reconstruction == "vgg16" else ()

    def peak_bytes(self, images: int) -> int:
        """Estimate the memory that a worker's process needs at most, from measurements with some room."""
        area = (self.working_size / _OFFICIAL_SIZE) ** 2
        backbone = self.chosen_backbone
        features = feature_bytes(backbone, self.features, self.working_size)
        weights = sum(weights_catalogue()[name].bytes for name in BACKBONES[backbone].weights)
        pairs = images * min(images - 1, self.partners + 1) / 2
        splines = _MATRICES * 8 * (images * _SPLINE_VALUES) ** 2 + pairs * self.matches * _MATCH_BYTES
        total = _PROCESS_BYTES + weights + images * (5 * features + _IMAGE_BYTES * area) + splines
        if self.preset != "draft":
            size = (self.network.image_size or _NETWORK_SIZES[self.preset]) / _OFFICIAL_SIZE
            total += self.network.batch * self.network.width / _OFFICIAL_WIDTH * size**2 * _PICTURE_BYTES
        return round(total)


SPEC = MethodSpec(
    id="asic",
    title="ASIC",
    summary="Dense maps of all images to one canonical plane, and the parts they share, from matches between them.",
    paper="arXiv:2303.16201",
    version="0.1",
    form=ResultForm.ATLAS,
    params=AsicParams,
    min_images=2,
    max_images=60,
    stages=(
        Stage(name="features", share=0.15),
        Stage(name="maps", share=0.35),
        Stage(name="parts", share=0.2),
        Stage(name="network", share=0.2),
        Stage(name="export", share=0.1),
    ),
    extendable=True,
    implementation="workers.methods.asic.pipeline:Asic",
)
