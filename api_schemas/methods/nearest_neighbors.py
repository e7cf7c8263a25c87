"""Parameters of the baseline: raw feature matching."""

from pydantic import Field

from api_schemas.manifest import ResultForm
from api_schemas.methods.spec import MethodParams, MethodSpec, Stage


class NearestNeighborsParams(MethodParams):
    """Maps each place of an image to the place with the most similar feature in every other image."""

    working_size: int = Field(
        default=256,
        ge=64,
        le=1024,
        multiple_of=32,
        description="Longer side, in pixels, at which images are described.",
    )
    subpixel: bool = Field(default=True, description="Refine each match between feature cells by a parabola fit.")


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
