"""What another package tells the service of a method: no masks, but a mesh, and what memory and weights it needs."""

from pydantic import Field

from api_schemas.base import Schema
from api_schemas.manifest import ResultForm
from api_schemas.methods.spec import FeatureParams, MeshUse, MethodSpec, Stage

BYTES_AN_IMAGE = 3 * 2**30


class Shape(Schema):
    """What to begin with."""

    mesh: str | None = Field(default=None, description="Id of an uploaded mesh.")


class PlainParams(FeatureParams):
    """The backbone, its features, whether a second network looks on, and a shape."""

    perceptual: bool = Field(default=False, description="Whether VGG-16 compares the pictures.")

    shape: Shape = Field(default_factory=Shape)

    def meshes(self) -> tuple[MeshUse, ...]:
        """The shape's, if it has one."""
        return () if self.shape.mesh is None else (MeshUse(("shape", "mesh"), self.shape.mesh),)

    def extra_weights(self) -> tuple[str, ...]:
        """Only who looks on needs weights."""
        return ("vgg16",) if self.perceptual else ()

    def peak_bytes(self, images: int) -> int:
        """Every image lies in memory."""
        return images * BYTES_AN_IMAGE


SPEC = MethodSpec(
    id="plain",
    title="Plain",
    summary="Takes images and nothing else.",
    paper=None,
    version="0.1",
    form=ResultForm.ATLAS,
    params=PlainParams,
    min_images=1,
    max_images=10,
    stages=(Stage(name="work", share=1.0),),
    implementation="plain_method:Plain",
)
