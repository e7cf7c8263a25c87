"""Parameters of GeoAware, telling left from right (arXiv 2311.17034)."""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from api_schemas.annotations.model import Annotations
from api_schemas.backbones import BACKBONES, BYTES_PER_VALUE, EMBEDDED_BACKBONE
from api_schemas.base import JobId, Schema
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.manifest import ResultForm
from api_schemas.methods.features_of_jobs import feature_misfits, with_features_of
from api_schemas.methods.spec import MaskedParams, MethodParams, MethodSpec, Misfit, Stage, Use
from api_schemas.weights import weights_catalogue

ADAPTER_METHOD = "geo_aware_adapter"
ADAPTER = ("adapter",)
MAX_IMAGES = 60
SUPERVISED_WINDOW, ZERO_SHOT_WINDOW, PAPER_GRID = 7, 5, 60

VariantName = Literal[
    "id",
    "rot90",
    "rot180",
    "rot270",
    "rot30",
    "rot-30",
    "rot45",
    "rot-45",
    "flip",
    "flip_rot90",
    "flip_rot180",
    "flip_rot270",
    "flip_rot30",
    "flip_rot-30",
    "flip_rot45",
    "flip_rot-45",
]
ImageIndex = Annotated[int, Field(ge=0, lt=MAX_IMAGES)]

_TELL_SIDES = ("sd15", EMBEDDED_BACKBONE)
_PROCESS_BYTES = 900_000_000
_IMAGE_BYTES = 40_000_000
_ADAPTED_CHANNELS = 768
_MAP_BYTES = 60


class ImdParams(Schema):
    """How the variants of a picture are compared: the instance matching distance of the paper."""

    mode: Literal["masked", "mutual"] = Field(
        default="masked",
        description="`masked`: mean distance of the object's cells to the nearest cell of the other object; `mutual`: "
        "mean distance of mutual nearest neighbours, for pictures without masks.",
    )
    resolution: int = Field(
        default=32, ge=8, le=96, description="Cells a side at which pictures are compared; the official code takes 64."
    )


class GeoAwareParams(MaskedParams):
    """Maps each place of an image to its place in every other, and tells left from right as far as features can."""

    adapter: JobId | None = Field(
        default=None,
        description="A job of `geo_aware_adapter` whose adapter describes the images; the backbone is then its own.",
    )
    grid: int = Field(
        default=60, ge=16, le=96, description="Feature cells along the longer side of an image: 60 in the paper."
    )
    pairs: list[tuple[ImageIndex, ImageIndex]] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_IMAGES**2,
        description="Ordered pairs [source, target] to match, by the images' places in the set; left out: all.",
    )
    variants: list[VariantName] | None = Field(
        default=None,
        min_length=1,
        description="How each source is also looked at, `id` (as it is) first; the variant most like the target is "
        "taken. Left out: `id` and `flip` with an adapter, diffusion features or the built-in network, else `id`, for "
        "features of other networks tell the side too seldom.",
    )
    min_relative_gain: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="A variant is taken only if its distance is smaller than that of `id` by more than this share.",
    )
    imd: ImdParams = Field(default_factory=ImdParams, description="How variants are compared.")
    window: int | None = Field(
        default=None,
        ge=0,
        le=48,
        description="Half width, in cells, of the square round the best match within which places are averaged; 0 is "
        "the whole picture. Left out: 7 with an adapter, else 5, of 60 cells a side, as in the paper.",
    )
    window_mode: Literal["mask", "zero"] = Field(
        default="mask",
        description="What lies outside the window counts for nothing (`mask`), or as similarity 0 (`zero`), as in the "
        "official code, which goes wrong where similarities are low.",
    )
    temperature: float = Field(
        default=0.02, ge=0.001, le=1, description="What similarities are divided by before they become weights."
    )
    subcell: bool = Field(
        default=True,
        description="Describe keypoints where they lie; otherwise by the cell they lie in, as the official code does.",
    )
    evidence: bool = Field(
        default=True, description="Keep, for every cell, how sure its match is: peak, margin, entropy, cycle."
    )

    @model_validator(mode="after")
    def _variants_begin_with_id(self) -> Self:
        if self.variants is not None:
            if self.variants[0] != "id":
                raise ValueError("variants must begin with 'id': the picture as it is")
            if len(set(self.variants)) != len(self.variants):
                raise ValueError("variants must differ from each other")
        return self

    @property
    def resolved_window(self) -> int:
        """Half width in cells."""
        if self.window is not None:
            return self.window
        return supervised_window(self.grid) if self.adapter else _scaled(ZERO_SHOT_WINDOW, self.grid)

    def variants_with(self, backbone: str) -> tuple[VariantName, ...]:
        """How sources are looked at, if `backbone` describes them."""
        if self.variants is not None:
            return tuple(self.variants)
        return ("id", "flip") if self.adapter or backbone.startswith(_TELL_SIDES) else ("id",)

    def uses(self) -> tuple[Use, ...]:
        """Name the job of the adapter."""
        return (Use(ADAPTER, self.adapter, ADAPTER_METHOD),) if self.adapter else ()

    def fitted_to(self, used: Mapping[tuple[str, ...], MethodParams]) -> Self:
        """Take the adapter's backbone."""
        return with_features_of(self, used.get(ADAPTER))

    def use_misfits(self, used: Mapping[tuple[str, ...], MethodParams]) -> list[Misfit]:
        """Find features for which the adapter was not made."""
        return feature_misfits(self, used.get(ADAPTER), f"the adapter of job {self.adapter}")

    def set_misfits(self, images: int) -> list[Misfit]:
        """Find pairs that name no image, or one twice."""
        return list(self._odd_pairs(images))

    def annotation_misfits(self, annotations: Annotations | None) -> list[Misfit]:
        """Find keypoints whose sides cannot be told, though mirrored variants are asked for."""
        mirrors = any(name.startswith("flip") for name in self.variants or ())
        if annotations is None or not mirrors:
            return []
        return [
            Misfit(
                ("categories", name),
                f"the keypoints of {name!r} have no mirror table, without which mirrored variants say nothing of them: "
                "give mirror_pairs ([] if nothing changes sides), or leave 'flip' out of the variants",
            )
            for name, schema in annotations.categories.items()
            if isinstance(schema, KeypointSchema) and schema.permutation is None
        ]

    def peak_bytes(self, images: int) -> int:
        """Estimate the memory that a worker's process needs at most, from measurements with some room."""
        info = BACKBONES[self.chosen_backbone]
        channels = info.channels + (_ADAPTED_CHANNELS if self.adapter else 0)
        features = BYTES_PER_VALUE * channels * self.grid**2
        looks = len(self.variants_with(self.chosen_backbone))
        weights = sum(weights_catalogue()[name].bytes for name in info.weights)
        pairs = images * (images - 1) if self.pairs is None else len(self.pairs)
        held = images * (features * (looks + 1) + _IMAGE_BYTES)
        return round(_PROCESS_BYTES + weights + held + pairs * self.grid**2 * _MAP_BYTES)

    def _odd_pairs(self, images: int) -> Iterator[Misfit]:
        seen: set[tuple[int, int]] = set()
        for index, pair in enumerate(self.pairs or []):
            path = ("pairs", index)
            if max(pair) >= images:
                yield Misfit(path, f"pair {list(pair)} names image {max(pair)}; there are 0 to {images - 1}")
            elif pair[0] == pair[1]:
                yield Misfit(path, f"pair {list(pair)} is an image with itself; leave it out")
            elif pair in seen:
                yield Misfit(path, f"pair {list(pair)} stands twice; leave one out")
            seen.add(pair)


def supervised_window(grid: int) -> int:
    """Half width in cells of the window of trained features: 7 of 60 in the paper."""
    return _scaled(SUPERVISED_WINDOW, grid)


def _scaled(window: int, grid: int) -> int:
    return max(1, round(window * grid / PAPER_GRID))


SPEC = MethodSpec(
    id="geo_aware",
    title="GeoAware",
    summary="Dense maps between pairs, with the mirrored or turned variant of each picture that fits best.",
    paper="arXiv:2311.17034",
    version="0.1",
    form=ResultForm.PAIRWISE_MAPS,
    params=GeoAwareParams,
    min_images=2,
    max_images=MAX_IMAGES,
    stages=(
        Stage(name="features", share=0.4),
        Stage(name="variants", share=0.1),
        Stage(name="matching", share=0.4),
        Stage(name="export", share=0.1),
    ),
    annotations="optional",
    implementation="workers.methods.geo_aware.pipeline:GeoAware",
)
