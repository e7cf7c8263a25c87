"""Parameters of the training of GeoAware's adapter (arXiv 2311.17034, the supervised part)."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Literal, Self

from pydantic import Field

from api_schemas.annotations.model import Annotations, ImageAnnotation
from api_schemas.backbones import BACKBONES, BYTES_PER_VALUE
from api_schemas.base import JobId, Schema
from api_schemas.image_sets import MAX_SET_IMAGES
from api_schemas.keypoints.schema import KeypointName, KeypointSchema
from api_schemas.manifest import ResultForm
from api_schemas.methods.features_of_jobs import feature_misfits, with_features_of
from api_schemas.methods.geo_aware import ADAPTER_METHOD
from api_schemas.methods.spec import FeatureParams, MethodParams, MethodSpec, Misfit, Stage, Use
from api_schemas.weights import weights_catalogue

Preset = Literal["compact", "official"]
START = ("start",)

_PROCESS_BYTES = 900_000_000
_IMAGE_BYTES = 20_000_000
_CHANNELS: dict[Preset, int] = {"compact": 128, "official": 768}
_BATCH: dict[Preset, int] = {"compact": 4, "official": 2}
_SINGLE_FLIPS: dict[Preset, float] = {"compact": 1.0, "official": 0.0}
_ACTIVATIONS = 14
"""Maps as wide as the result that a pass keeps for its gradient, measured."""


class TrainingParams(Schema):
    """How the adapter is trained. What is empty, the preset chooses."""

    steps: int | None = Field(default=None, ge=1, le=500_000, description="Steps; `compact` 300, `official` 20000.")
    batch_images: int | None = Field(
        default=None,
        ge=2,
        le=32,
        description="Images a step, all of whose pairs are learned from; `compact` 4, `official` 2.",
    )
    learning_rate: float | None = Field(
        default=None, gt=0, le=1, description="At its highest; `compact` 0.005, `official` 0.00125."
    )
    schedule: Literal["one_cycle", "constant"] = Field(
        default="one_cycle", description="Whether the learning rate rises and falls, or stays."
    )
    dropout: float = Field(default=0.2, ge=0, lt=1, description="Share of feature values left out while training.")
    noise: float = Field(
        default=0.1, ge=0, le=1, description="Deviation of the noise on keypoints, in halves of the object's side."
    )
    double_flip: float = Field(default=1.0, ge=0, le=10, description="Weight of pairs of which both are mirrored.")
    self_flip: float = Field(default=0.25, ge=0, le=10, description="Weight of each image against its mirror image.")
    single_flip: float | None = Field(
        default=None,
        ge=0,
        le=10,
        description="Weight of pairs of which one is mirrored; `compact` 1, `official` 0: the released code leaves "
        "them out, though its settings name 1.",
    )
    width: int | None = Field(
        default=None,
        ge=32,
        le=768,
        multiple_of=32,
        description="Channels of the result; `compact` 128, `official` 768.",
    )


class GeoAwareAdapterParams(FeatureParams):
    """Learns from annotated images to tell look-alike parts apart; the adapter then serves `geo_aware`."""

    preset: Preset = Field(
        default="compact",
        description="`compact` is made for tens of images and a CPU; `official` is the paper's size and settings.",
    )
    grid: int = Field(default=60, ge=16, le=96, description="Feature cells along the longer side of an image.")
    start: JobId | None = Field(
        default=None,
        description="A job of `geo_aware_adapter` whose adapter is trained on; its backbone is taken over.",
    )
    blend: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of the adapter in the similarities, the rest being the plain features', which know more of "
        "what it has never seen. Left out: what is best on the images of the split `val`; without such 1.",
    )
    test_share: float = Field(
        default=0.25,
        ge=0,
        le=0.9,
        description="Share of each category's images that is kept for the report and never learned from, where the "
        "annotations do not name a `split`.",
    )
    holdout_keypoints: list[KeypointName] = Field(
        default=[],
        max_length=100,
        description="Keypoints that are never learned from; the report says how they fare, as new ones would.",
    )
    max_maps: int = Field(
        default=12, ge=2, le=24, description="Of so many test images the maps to each other are part of the result."
    )
    training: TrainingParams = Field(default_factory=TrainingParams, description="How the adapter is trained.")

    def uses(self) -> tuple[Use, ...]:
        """Name the job to start from."""
        return (Use(START, self.start, ADAPTER_METHOD),) if self.start else ()

    def fitted_to(self, used: Mapping[tuple[str, ...], MethodParams]) -> Self:
        """Take over the backbone of the job to start from."""
        return with_features_of(self, used.get(START))

    def use_misfits(self, used: Mapping[tuple[str, ...], MethodParams]) -> list[Misfit]:
        """Find features or a size for which the adapter to start from was not made."""
        job = used.get(START)
        found = feature_misfits(self, job, f"the adapter of job {self.start}")
        if isinstance(job, GeoAwareAdapterParams):
            what = f"the adapter of job {self.start}"
            if job.preset != self.preset:
                found.append(Misfit(("preset",), f"{what} is of preset {job.preset!r}; take that"))
            if job.width != self.width:
                found.append(
                    Misfit(("training", "width"), f"{what} has width {job.width}, not {self.width}; take that")
                )
        return found

    def annotation_misfits(self, annotations: Annotations | None) -> list[Misfit]:
        """Find categories of which nothing can be learned, and keypoints to leave out that there are not."""
        if annotations is None:
            return []
        return [*self._unusable(annotations), *self._without_sides(annotations), *self._unknown_names(annotations)]

    @property
    def mirrors(self) -> bool:
        """Whether mirrored images are learned from."""
        training = self.training
        single = _SINGLE_FLIPS[self.preset] if training.single_flip is None else training.single_flip
        return max(training.double_flip, training.self_flip, single) > 0

    @property
    def width(self) -> int:
        """Channels of the result."""
        return self.training.width or _CHANNELS[self.preset]

    def peak_bytes(self, images: int) -> int:
        """Estimate the memory that a worker's process needs at most, from measurements with some room."""
        info = BACKBONES[self.chosen_backbone]
        cells = BYTES_PER_VALUE * self.grid**2
        weights = sum(weights_catalogue()[name].bytes for name in info.weights)
        described = images * (info.channels * cells * 2 + self.width * cells + _IMAGE_BYTES)
        passes = 2 * (self.training.batch_images or _BATCH[self.preset])
        trained = passes * cells * (_ACTIVATIONS * self.width + 2 * info.channels)
        return round(_PROCESS_BYTES + weights + described + trained)

    def _unusable(self, annotations: Annotations) -> Iterator[Misfit]:
        by_category = _by_category(annotations)
        if not by_category:
            detail = (
                "no image is there to learn from: give categories, keypoints, and to some images no split or 'train'"
            )
            yield Misfit((), detail)
        for name, images in by_category.items():
            path = ("categories", name)
            if len(images) < 2:
                detail = f"category {name!r} has one image to learn from; give at least two"
                yield Misfit(path, detail)
            elif not any(set(one.visible) & set(two.visible) for one, two in combinations(images, 2)):
                detail = f"no two images of category {name!r} to learn from show a keypoint in common; annotate more"
                yield Misfit(path, detail)

    def _without_sides(self, annotations: Annotations) -> Iterator[Misfit]:
        for name, schema in annotations.categories.items():
            if self.mirrors and isinstance(schema, KeypointSchema) and schema.permutation is None:
                detail = (
                    f"the keypoints of {name!r} have no mirror table, which learning from mirrored images needs: give "
                    "mirror_pairs ([] if nothing changes sides), or set the three flip weights in `training` to 0"
                )
                yield Misfit(("categories", name), detail)

    def _unknown_names(self, annotations: Annotations) -> Iterator[Misfit]:
        schemas = [schema for schema in annotations.categories.values() if isinstance(schema, KeypointSchema)]
        known = {name for schema in schemas for name in schema.names}
        for name in self.holdout_keypoints:
            if name not in known:
                detail = f"params/holdout_keypoints: no category has a keypoint {name!r}"
                yield Misfit(("categories",), detail)


def _by_category(annotations: Annotations) -> dict[str, list[ImageAnnotation]]:
    """Images to learn from, by category."""
    found: defaultdict[str, list[ImageAnnotation]] = defaultdict(list)
    for image in annotations.images.values():
        if image.category is not None and image.split in (None, "train"):
            found[image.category].append(image)
    return dict(found)


SPEC = MethodSpec(
    id=ADAPTER_METHOD,
    title="GeoAware adapter",
    summary="Learns from annotated images to tell left from right; the result describes images for `geo_aware`.",
    paper="arXiv:2311.17034",
    version="0.1",
    form=ResultForm.PAIRWISE_MAPS,
    params=GeoAwareAdapterParams,
    min_images=2,
    max_images=MAX_SET_IMAGES,
    stages=(
        Stage(name="features", share=0.15),
        Stage(name="training", share=0.7),
        Stage(name="matching", share=0.1),
        Stage(name="export", share=0.05),
    ),
    annotations="required",
    implementation="workers.methods.geo_aware_adapter.pipeline:GeoAwareAdapter",
)
