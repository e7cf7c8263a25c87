"""Parameters of 3D Congealing (arXiv 2404.02125)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from api_schemas.backbones import BACKBONES, feature_bytes
from api_schemas.base import Schema, Text
from api_schemas.manifest import ResultForm
from api_schemas.meshes import MeshId
from api_schemas.methods.spec import MaskedParams, MeshUse, MethodSpec, Stage
from api_schemas.weights import weights_catalogue

MVDREAM = "mvdream"
MAX_CANDIDATES = 4096
MAX_CROP_PX = 518
FEATURE_DIM = 128
_PROCESS_BYTES = 1_300_000_000
_IMAGE_BYTES = 40_000_000
_VIEW_BYTES = 120
"""Of a rendered pixel while a batch of views is drawn and described."""
_BATCH = 16

UpAxis = Literal["y", "z", "x"]


class MeshShape(Schema):
    """The shape is a mesh of the user's."""

    source: Literal["mesh"] = "mesh"
    mesh: MeshId = Field(description="Id of an uploaded mesh; POST /v1/meshes.")
    up_axis: UpAxis = Field(default="y", description="Which of the file's axes points up; y in glTF.")
    yaw_deg: float = Field(
        default=0.0, ge=-360, le=360, description="Turns the mesh about the axis that points up, counterclockwise."
    )


class GeneratedShape(Schema):
    """The shape is made of the images by a diffusion model that knows views: the paper's own way; takes a GPU."""

    source: Literal["generate"] = "generate"
    preset: Literal["fast", "official"] = Field(
        default="fast", description="`official`: the paper's number of steps and size of pictures; `fast`: a quarter."
    )
    word: Text = Field(
        default="object", min_length=1, max_length=60, description="What the images show, in a word; a start."
    )
    vectors: int = Field(default=1, ge=1, le=8, description="Words that are learned for what the images share.")
    inversion_steps: int | None = Field(
        default=None, ge=1, le=10_000, description="Steps of textual inversion; 1000 when left out."
    )
    distillation_steps: int | None = Field(
        default=None, ge=1, le=50_000, description="Steps of score distillation; 10 000 or 2500, by the preset."
    )
    field: Literal["grid", "hash"] = Field(
        default="grid", description="Voxel grids, or the published hashed grids, which are slower here."
    )
    suffix: str = Field(
        default="", max_length=100, description="What the distillation's prompt ends with, such as `, 3d asset`."
    )


ShapeSource = Annotated[MeshShape | GeneratedShape, Field(discriminator="source")]


class SearchParams(Schema):
    """Which poses are tried."""

    azimuths: int = Field(default=16, ge=4, le=72, description="Steps around the shape.")
    elevations: int = Field(default=16, ge=1, le=36, description="Steps from below to above.")
    min_elevation_deg: float = Field(
        default=-90.0, ge=-90, le=90, description="Lowest elevation; -10 where things stand on the ground."
    )
    max_elevation_deg: float = Field(
        default=90.0, ge=-90, le=90, description="Highest elevation; 40 where people took the pictures."
    )
    fovs_deg: list[Annotated[float, Field(ge=5, le=90)]] = Field(
        default=[15.0, 37.5, 60.0], min_length=1, max_length=8, description="Fields of view of a picture's longer side."
    )
    rolls_deg: list[Annotated[float, Field(ge=-180, le=180)]] = Field(
        default=[0.0],
        min_length=1,
        max_length=24,
        description="Turns of the camera about its axis. Refinement finds some 15 degrees by itself.",
    )
    spacing: Literal["cells", "inclusive"] = Field(
        default="cells", description="`inclusive`: with both ends of each range, as the paper's text can be read."
    )
    hypotheses: int = Field(
        default=5, ge=1, le=12, description="Poses of each image that are refined, 30 degrees apart or more."
    )

    @property
    def candidates(self) -> int:
        """Poses that are tried."""
        return self.azimuths * self.elevations * len(self.fovs_deg) * len(self.rolls_deg)

    @model_validator(mode="after")
    def _ranges(self) -> Self:
        if self.min_elevation_deg >= self.max_elevation_deg:
            raise ValueError(
                f"min_elevation_deg {self.min_elevation_deg:g} must be below max_elevation_deg "
                f"{self.max_elevation_deg:g}"
            )
        if self.candidates > MAX_CANDIDATES:
            raise ValueError(
                f"{self.azimuths} azimuths x {self.elevations} elevations x {len(self.fovs_deg)} fields of view x "
                f"{len(self.rolls_deg)} rolls are {self.candidates} poses; at most {MAX_CANDIDATES} are tried"
            )
        return self


class Congealing3dParams(MaskedParams):
    """Finds one shape, the pose of every image, and the place on the shape of every pixel."""

    shape: ShapeSource = Field(
        default=GeneratedShape(),
        description="Where the shape comes from: `mesh`, an uploaded one, or `generate`.",
    )
    cells: int = Field(
        default=32,
        ge=12,
        le=48,
        multiple_of=4,
        description="Feature cells along a side of the crops that are compared.",
    )
    search: SearchParams = Field(default_factory=SearchParams, description="Which poses are tried.")
    refine: bool = Field(default=True, description="Refine the best poses by masks and features.")
    collective: bool = Field(
        default=True,
        description="Let the images decide together between poses that fit the shape alike; only with masks.",
    )
    warp: bool = Field(
        default=True,
        description="Bend the maps where an image's object differs from the shape; else they follow the pose alone.",
    )
    map_size: int = Field(
        default=256, ge=64, le=512, multiple_of=32, description="Cells along the longer side of the maps."
    )
    texture_size: int = Field(
        default=512, ge=128, le=2048, multiple_of=128, description="Side of the shape's texture in pixels."
    )

    @property
    def crop_size(self) -> int:
        """Side in pixels of the crops that the backbone describes."""
        stride = self.features.stride or BACKBONES[self.chosen_backbone].stride
        return min(MAX_CROP_PX, max(64, stride * self.cells))

    def meshes(self) -> tuple[MeshUse, ...]:
        """Name the uploaded mesh."""
        return (MeshUse(("shape", "mesh"), self.shape.mesh),) if isinstance(self.shape, MeshShape) else ()

    def extra_weights(self) -> tuple[str, ...]:
        """Name the diffusion model that makes shapes."""
        return (MVDREAM,) if isinstance(self.shape, GeneratedShape) else ()

    @property
    def instead_of_extra_weights(self) -> str:
        """Name the way that takes no diffusion model."""
        return (
            "Upload a mesh (`congeal meshes upload FILE`, POST /v1/meshes) and take shape "
            "{'source': 'mesh', 'mesh': its id}"
        )

    def peak_bytes(self, images: int) -> int:
        """Estimate the memory that a worker's process needs at most, from measurements with some room."""
        backbone = self.chosen_backbone
        weights = sum(weights_catalogue()[name].bytes for name in (*BACKBONES[backbone].weights, *self.extra_weights()))
        dim = min(FEATURE_DIM, BACKBONES[backbone].channels)
        bank = 4 * self.search.candidates * (dim + 1) * self.cells**2
        batch = _BATCH * (feature_bytes(backbone, self.features, self.crop_size) + _VIEW_BYTES * self.crop_size**2)
        maps = images * (_IMAGE_BYTES + 40 * self.map_size**2)
        return round(_PROCESS_BYTES + weights + 1.5 * bank + 4 * batch + maps)


SPEC = MethodSpec(
    id="congealing_3d",
    title="3D Congealing",
    summary="One 3D shape for all images, a camera for each, and the place on the shape of every pixel.",
    paper="arXiv:2404.02125",
    version="0.1",
    form=ResultForm.SHAPE,
    params=Congealing3dParams,
    min_images=1,
    max_images=100,
    stages=(
        Stage(name="objects", share=0.05),
        Stage(name="inversion", share=0.05),
        Stage(name="distillation", share=0.2),
        Stage(name="candidates", share=0.3),
        Stage(name="poses", share=0.2),
        Stage(name="maps", share=0.1),
        Stage(name="export", share=0.1),
    ),
    annotations="optional",
    implementation="workers.methods.congealing_3d.pipeline:Congealing3d",
)
