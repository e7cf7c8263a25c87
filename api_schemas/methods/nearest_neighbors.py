"""Parameters of the baseline: raw feature matching."""

from typing import Literal

from pydantic import Field

from api_schemas.manifest import ResultForm
from api_schemas.methods.spec import MaskedParams, MethodSpec, Stage

Matcher = Literal["nearest", "soft_argmax", "window_soft_argmax"]


class NearestNeighborsParams(MaskedParams):
    """Maps each place of an image to the place with the most similar feature in every other image."""

    working_size: int = Field(
        default=256,
        ge=64,
        le=1024,
        multiple_of=32,
        description="Longer side, in pixels, at which images are described.",
    )
    matcher: Matcher = Field(
        default="nearest",
        description="`nearest` takes the most similar place, `soft_argmax` the mean of all places weighted by "
        "similarity, `window_soft_argmax` that mean close to the most similar place alone.",
    )
    subpixel: bool = Field(
        default=True, description="Of `nearest`: refine each match between feature cells by a parabola fit."
    )
    window: int = Field(
        default=5,
        ge=1,
        le=48,
        description="Of `window_soft_argmax`: half width of the square window, in feature cells.",
    )
    temperature: float = Field(
        default=0.02,
        ge=0.001,
        le=1,
        description="Of both soft matchers: what similarities are divided by before the softmax; smaller is sharper.",
    )
    mutual_only: bool = Field(
        default=False,
        description="Leave out matches whose way back ends more than 2 feature cells from where they began.",
    )
    ratio: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="Leave out matches whose distance (1 - cosine) is not below this share of that of the best match "
        "elsewhere in the image; empty keeps all.",
    )


SPEC = MethodSpec(
    id="nearest_neighbors",
    title="Nearest neighbours",
    summary="The fast, cheap answer: dense maps between all pairs by nearest features, with mutual-match confidence.",
    paper=None,
    version="0.1",
    form=ResultForm.PAIRWISE_MAPS,
    params=NearestNeighborsParams,
    min_images=2,
    max_images=60,
    stages=(
        Stage(name="features", share=0.4),
        Stage(name="matching", share=0.4),
        Stage(name="export", share=0.2),
    ),
    implementation="workers.methods.nearest_neighbors.pipeline:NearestNeighbors",
)
