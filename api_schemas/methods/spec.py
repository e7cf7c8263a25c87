"""What the service must know of a method without loading it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from pydantic import Field, JsonValue

from api_schemas.annotations.model import Annotations
from api_schemas.backbones import BackboneChoice, BackboneName, FeatureOptions, faults
from api_schemas.base import JobId, Schema
from api_schemas.manifest import ResultForm
from api_schemas.saliency import SaliencyChoice, saliency_fault

AnnotationsNeed = Literal["none", "optional", "required"]


@dataclass(frozen=True)
class Use:
    """A succeeded job whose result a job works with."""

    path: tuple[str, ...]
    """Where the parameters name it."""
    job_id: JobId
    method: str
    """Id of the method that it must be of."""


@dataclass(frozen=True)
class MeshUse:
    """An uploaded mesh that a job works with."""

    path: tuple[str, ...]
    """Where the parameters name it."""
    mesh_id: str


@dataclass(frozen=True)
class PixelSize:
    """Of an uploaded image, in pixels."""

    width: int
    height: int


class MethodParams(Schema):
    """Base of every method's parameters."""

    def set_misfits(self, images: int) -> list["Misfit"]:  # noqa: ARG002
        """Find parameters that do not fit a set of so many images."""
        return []

    def size_misfits(self, sizes: Sequence[PixelSize]) -> list["Misfit"]:  # noqa: ARG002
        """Find parameters that do not fit images of these sizes, in the order of the set."""
        return []

    def annotation_misfits(self, annotations: Annotations | None) -> list["Misfit"]:  # noqa: ARG002
        """Find what is wrong with annotations, complete ones, for these parameters; paths lie within them."""
        return []

    def uses(self) -> tuple[Use, ...]:
        """Name the jobs whose results these parameters need."""
        return ()

    def meshes(self) -> tuple[MeshUse, ...]:
        """Name the uploaded meshes that these parameters need."""
        return ()

    def fitted_to(self, used: Mapping[tuple[str, ...], "MethodParams"]) -> Self:  # noqa: ARG002
        """Take over, where these parameters leave it open, what must be as in the jobs used, by path."""
        return self

    def use_misfits(self, used: Mapping[tuple[str, ...], "MethodParams"]) -> list["Misfit"]:  # noqa: ARG002
        """Find parameters, complete ones, that do not fit the jobs used, by path."""
        return []

    def extra_weights(self) -> tuple[str, ...]:
        """Name the entries of the weights catalogue that these parameters need besides those of the backbone.

        Asked of parameters whose networks are chosen.
        """
        return ()

    @property
    def instead_of_extra_weights(self) -> str:
        """Say what to do where extra weights are not at hand; the beginning of a sentence."""
        return "Take other parameters"

    def peak_bytes(self, images: int) -> int:  # noqa: ARG002
        """Estimate the memory that a worker's process needs at most for a set of so many images; 0 where unknown.

        Asked of parameters whose networks are chosen: none is `auto` any more.
        """
        return 0

    def work_tflop(self, images: int) -> float:  # noqa: ARG002
        """Estimate the work on a set of so many images in 10^12 floating-point operations; 0 where unknown.

        Asked of parameters whose networks are chosen.
        """
        return 0.0


class FeatureParams(MethodParams):
    """Parameters of a method that describes images by a backbone's features."""

    backbone: BackboneChoice = Field(
        default="auto",
        description="What describes the images; `auto` takes the best network whose weights are at hand.",
    )
    features: FeatureOptions = Field(
        default_factory=FeatureOptions,
        description="What of the backbone is read; what is left out, the backbone chooses.",
    )

    @property
    def chosen_backbone(self) -> BackboneName:
        """The backbone, once it is chosen.

        Raises:
            ValueError: it is `auto` still.
        """
        if self.backbone == "auto":
            raise ValueError("no backbone is chosen yet; resolve 'auto' first")
        return self.backbone

    def misfits(self, backbone: BackboneName) -> list["Misfit"]:
        """Find parameters that do not fit the backbone that `self.backbone` has become."""
        return [Misfit(("features", fault.option), fault.detail) for fault in faults(backbone, self.features)]


class ModelParams(MethodParams):
    """Parameters of a method that works with a generative network itself instead of a backbone's features."""

    model: str = Field(
        default="auto",
        pattern=r"^[a-z0-9_]{1,64}$",
        description="Stable Diffusion checkpoint, 1.x or 2.x, by its name in the weights catalogue; `auto` takes the "
        "first one that a worker has at hand.",
    )

    def extra_weights(self) -> tuple[str, ...]:
        """Name the checkpoint."""
        return (self.model,)


class MaskedParams(FeatureParams):
    """Parameters of a method that can be told, or can find, where the objects are."""

    saliency: SaliencyChoice = Field(
        default="auto",
        description="Where the object is in each image. `user`: the masks given with the job; `cosegmentation`: found "
        "by clustering, which needs a transformer as backbone; `none`: the whole images count; `auto` takes the masks "
        "if there are any, else the whole images.",
    )

    def misfits(self, backbone: BackboneName) -> list["Misfit"]:
        """Find parameters that do not fit the backbone, the source of saliency among them."""
        fault = None if self.saliency == "auto" else saliency_fault(self.saliency, backbone)
        return super().misfits(backbone) + ([Misfit(("saliency",), fault)] if fault else [])


@dataclass(frozen=True)
class Misfit:
    """A parameter that is right by itself but not with this backbone, this set, these images or these annotations."""

    path: tuple[str | int, ...]
    """Where it lies within the parameters, or within the annotations."""
    detail: str


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A named part of a method's work."""

    name: str
    share: float
    """Rough share of the run time in (0, 1]; the shares of a method add up to 1."""


@dataclass(frozen=True, kw_only=True)
class MethodSpec:
    """Description of a method; registered through the entry-point group `congeal.methods`."""

    id: str
    title: str
    summary: str
    paper: str | None
    version: str
    form: ResultForm
    params: type[MethodParams]
    min_images: int
    max_images: int
    stages: tuple[Stage, ...]
    extendable: bool = False
    """Whether images can be added to a finished result without computing the others again (`extends`)."""
    annotations: AnnotationsNeed = "none"
    """Whether keypoints and the like can be given with the images, or must be."""
    implementation: str
    """`module:attribute` of the `workers.methods.base.Method`; imported by the runner alone."""


class MethodSummary(Schema):
    """A method in the list."""

    id: str
    title: str
    summary: str
    paper: str | None
    version: str
    form: ResultForm
    min_images: int
    max_images: int
    stages: list[str]
    extendable: bool = Field(description="Whether a job can add images to a finished result: `extends`.")
    annotations: AnnotationsNeed = Field(description="Whether the method takes, or needs, `annotations`.")
    ready: bool = Field(description="Whether a job can run now with backbone, or model, `auto`.")
    backbones: list[str] = Field(
        description="Backbones that a worker has at hand; empty where the method uses no backbone."
    )
    models: list[str] = Field(
        description="Diffusion models that a worker has at hand; empty where the method uses a backbone instead."
    )
    links: dict[str, str]


class BackboneStatus(Schema):
    """A backbone that a job can name, and what it takes."""

    name: BackboneName
    title: str
    ready: bool = Field(description="Whether a worker has it at hand.")
    weights: list[str] = Field(description="Entries of the weights catalogue that it needs.")
    weights_bytes: int = Field(description="Size of these weights.")
    licenses: list[str] = Field(description="Licences of these weights.")
    features: FeatureOptions = Field(description="Options that it takes, with its own choices; null where it has none.")


class ModelStatus(Schema):
    """A diffusion model that a job can name."""

    name: str
    ready: bool = Field(description="Whether a worker has it at hand.")
    weights_bytes: int = Field(description="Size of its weights.")
    license: str
    hub: str = Field(description="Repository in the hub that it comes from.")


class MethodDetail(MethodSummary):
    """A method with the JSON Schema of its parameters and a request to start from."""

    known_backbones: list[BackboneStatus] = Field(
        description="All backbones, where the method uses one. `congeal weights pull <name>` on a worker's machine "
        "brings one that is not ready."
    )
    known_models: list[ModelStatus] = Field(
        description="All diffusion models, where the method uses one, in the order in which `auto` looks for them."
    )
    params_schema: dict[str, JsonValue]
    example: dict[str, JsonValue]


class MethodList(Schema):
    """All methods of this installation."""

    items: list[MethodSummary]
