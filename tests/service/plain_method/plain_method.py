"""What another package tells the service of a method: it takes no masks, and says what memory and weights it needs."""

from pydantic import Field

from api_schemas.manifest import ResultForm
from api_schemas.methods.spec import FeatureParams, MethodSpec, Stage

BYTES_AN_IMAGE = 3 * 2**30


class PlainParams(FeatureParams):
    """The backbone, its features, and whether a second network looks on."""

    perceptual: bool = Field(default=False, description="Whether VGG-16 compares the pictures.")

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
