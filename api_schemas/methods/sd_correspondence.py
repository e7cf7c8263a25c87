"""Parameters of correspondence by optimised prompts in Stable Diffusion (arXiv 2305.15581)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from api_schemas.base import Schema, Text
from api_schemas.manifest import ResultForm
from api_schemas.methods.sd_correspondence_work import Work, peak_bytes
from api_schemas.methods.spec import MethodSpec, Misfit, ModelParams, PixelSize, Stage
from api_schemas.weights import weights_catalogue

MAX_IMAGES = 60
MAX_EMBEDDINGS = 256
"""Embeddings a round that a job may optimise and keep; one holds 77 x 768 numbers."""
FRAME = 512
"""Side of the square that lengths of this method refer to, in its pixels."""

Preset = Literal["official", "fast", "joint", "cached"]
ImageIndex = Annotated[int, Field(ge=0, lt=MAX_IMAGES)]


class QueryPoint(Schema):
    """A point to be found in other images."""

    image: ImageIndex = Field(description="Its image, by place in the set.")
    x: float = Field(description="Pixels of the upload from its left edge.")
    y: float = Field(description="Pixels of the upload from its top edge.")
    id: Text | None = Field(default=None, min_length=1, max_length=64, description="A name for it, to find it again.")


class QueryGrid(Schema):
    """Points at equal distances all over one image, which make a dense map."""

    image: ImageIndex = Field(default=0, description="The image, by place in the set.")
    step: int = Field(default=64, ge=8, le=256, description="Distance of the points in 512ths of the image's sides.")

    @property
    def side(self) -> int:
        """Points in a row, and rows."""
        return round(FRAME / self.step)


class Tuning(Schema):
    """How embeddings are optimised and read; what is left out, the preset chooses."""

    rounds: int | None = Field(default=None, ge=1, le=10, description="Embeddings of a query, from different noise.")
    steps: int | None = Field(default=None, ge=1, le=1000, description="Adam steps of an embedding, at most.")
    learning_rate: float | None = Field(default=None, gt=0, le=1, description="Of Adam.")
    stop_early: bool | None = Field(
        default=None, description="End an embedding's steps when its loss has not fallen for a while."
    )
    sigma: float = Field(
        default=27.97853316316864, ge=4, le=128, description="Width of the wanted peak, in 512ths of the sides."
    )
    crop_percent: float = Field(
        default=93.16549294381423, ge=50, le=100, description="Side of the random crops, in percent of the image's."
    )
    crop_bank: int | None = Field(
        default=None,
        ge=0,
        le=64,
        description="Crops of a source image that are encoded once and drawn from; 0 encodes a new one at each step.",
    )
    read_crops: int = Field(default=20, ge=4, le=64, description="Crops of a target over which maps are averaged.")
    read_anchors: Literal["adaptive", "shared"] | None = Field(
        default=None,
        description="Where these lie, after the four corners: round the highest place so far, or the same for all.",
    )
    optimise_timestep: int = Field(default=140, ge=0, le=999, description="Noise level of the optimisation, of 1000.")
    read_timestep: int = Field(default=40, ge=0, le=999, description="Noise level at which targets are read, of 1000.")
    noise: Literal["uniform", "gaussian", "none"] = Field(
        default="uniform", description="What is added to latents; the official code adds uniform noise in [0, 1)."
    )
    heads: Literal["second_half", "all"] = Field(
        default="second_half", description="Attention heads that are read; the official code reads half of them."
    )
    fusion: Literal["softmax", "mean"] = Field(
        default="softmax", description="How the layers' maps become one: softmax over pixels first, or plain mean."
    )
    half_pixel: bool | None = Field(
        default=None, description="Centre the wanted peak on pixel centres; the official code is half a pixel off."
    )
    points_per_embedding: int | None = Field(
        default=None, ge=1, le=32, description="Queries that share an embedding, each with a token of its own."
    )
    fixed_features: bool | None = Field(
        default=None,
        description="Run the network once a crop, under noise as the prompt, and optimise on what it attended with.",
    )


_PRESETS: dict[Preset, Tuning] = {
    "official": Tuning(
        rounds=5,
        steps=129,
        learning_rate=0.0023755632081200314,
        stop_early=False,
        crop_bank=0,
        read_anchors="adaptive",
        half_pixel=False,
        points_per_embedding=1,
        fixed_features=False,
    ),
    "fast": Tuning(
        rounds=3,
        steps=48,
        learning_rate=0.0095,
        stop_early=True,
        crop_bank=24,
        read_anchors="shared",
        half_pixel=True,
        points_per_embedding=1,
        fixed_features=False,
    ),
}
_PRESETS["joint"] = _PRESETS["fast"].model_copy(update={"steps": 64, "crop_bank": 64, "points_per_embedding": 16})
_PRESETS["cached"] = _PRESETS["fast"].model_copy(update={"steps": 64, "crop_bank": 32, "fixed_features": True})


class SdCorrespondenceParams(ModelParams):
    """Finds points of one image in the others: a prompt is optimised until it attends to the point."""

    preset: Preset = Field(
        default="fast",
        description="`official`: the paper's settings; `fast`: the same with crops encoded once and fewer steps; "
        "`joint`: sixteen points share a prompt; `cached`: prompts are fitted to features computed once, for many "
        "points or a computer without a GPU.",
    )
    queries: list[QueryPoint] | None = Field(default=None, min_length=1, description="Points to be found.")
    grid: QueryGrid | None = Field(
        default=None, description="Points all over one image instead. Left out, with no `queries`: all over the first."
    )
    targets: list[ImageIndex] | None = Field(
        default=None,
        min_length=1,
        description="Images in which the points are looked for, by place in the set; left out: all others.",
    )
    cycle: bool | None = Field(
        default=None,
        description="Go back: look for each point found in its source again, and tell how far the way ends from where "
        "it began. Left out: with `cached` and `joint`, where it costs little.",
    )
    resize: Literal["stretch", "pad"] = Field(
        default="stretch", description="How images become squares: stretched, as in the paper, or with a margin."
    )
    working_size: int = Field(
        default=FRAME, ge=256, le=768, multiple_of=64, description="Side of these squares, in pixels; 512 in the paper."
    )
    subpixel: Literal["argmax", "local_soft"] | None = Field(
        default=None,
        description="Which place counts as found: the highest pixel, or the centroid of the peak. Left out: the first "
        "with `official`, else the second, which is nearer.",
    )
    tuning: Tuning = Field(default_factory=Tuning, description="For experts.")

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, given: object) -> object:
        """Write down what is left out, so that the job shows it; what is wrong stays for the fields to refuse."""
        if not isinstance(given, dict):
            return given
        preset = given.get("preset", "fast")
        tuning = given.get("tuning", {})
        if isinstance(tuning, Tuning):
            tuning = tuning.model_dump(exclude_unset=True)
        filled = dict(given)
        if given.get("queries") is None and given.get("grid") is None:
            filled["grid"] = {}
        if given.get("cycle") is None:
            filled["cycle"] = preset in ("joint", "cached")
        if given.get("subpixel") is None:
            filled["subpixel"] = "argmax" if preset == "official" else "local_soft"
        if isinstance(tuning, dict) and isinstance(preset, str) and preset in _PRESETS:
            named = {name: value for name, value in tuning.items() if value is not None}
            filled["tuning"] = _PRESETS[preset].model_dump(exclude_none=True) | named
        return filled

    @model_validator(mode="after")
    def _points_are_given_once(self) -> Self:
        if self.queries is not None and self.grid is not None:
            raise ValueError("give either queries or a grid, and not both")
        return self

    @property
    def query_count(self) -> int:
        """Points that are looked for."""
        if self.queries is not None:
            return len(self.queries)
        return self.grid.side**2 if self.grid is not None else 0

    @property
    def sources(self) -> list[int]:
        """Images that points lie on, each once, in order."""
        if self.queries is not None:
            return sorted({query.image for query in self.queries})
        return [self.grid.image] if self.grid is not None else []

    def targets_of(self, source: int, images: int) -> list[int]:
        """Images in which the points of a source are looked for."""
        wanted = range(images) if self.targets is None else self.targets
        return [index for index in wanted if index != source]

    def set_misfits(self, images: int) -> list[Misfit]:
        """Find images that are not in the set, points that stand twice, and more points than can be kept."""
        return [*self._odd_images(images), *self._repeated(), *self._too_many(images)]

    def size_misfits(self, sizes: Sequence[PixelSize]) -> list[Misfit]:
        """Find points outside their images."""
        return [
            Misfit(
                ("queries", index),
                f"({query.x:g}, {query.y:g}) lies outside image {query.image}, which is {size.width} x {size.height} "
                "pixels; give x and y in pixels of the upload",
            )
            for index, query in enumerate(self.queries or [])
            for size in sizes[query.image : query.image + 1]
            if not (0 <= query.x <= size.width and 0 <= query.y <= size.height)
        ]

    def peak_bytes(self, images: int) -> int:
        """Estimate the memory that a worker's process needs at most."""
        return peak_bytes(self._work(images), weights_catalogue()[self.model].bytes)

    def work_tflop(self, images: int) -> float:
        """Estimate the work from the parts' costs in SD 1.4, scaled by the checkpoint's size."""
        return self._work(images).tflop(weights_catalogue()[self.model].bytes)

    def _work(self, images: int) -> Work:
        tuning = self.tuning
        per_source = Counter(query.image for query in self.queries or [])
        if self.grid is not None:
            per_source[self.grid.image] = self.query_count
        return Work(
            queries=tuple(per_source.values()),
            targets=tuple(len(self.targets_of(source, images)) for source in per_source),
            images=images,
            size=self.working_size,
            rounds=tuning.rounds or 1,
            steps=tuning.steps or 1,
            bank=tuning.crop_bank or 0,
            windows=(self.working_size - int(self.working_size * tuning.crop_percent / 100) + 1) ** 2,
            read_crops=tuning.read_crops,
            points_per_embedding=tuning.points_per_embedding or 1,
            fixed_features=bool(tuning.fixed_features),
            cycle=bool(self.cycle),
        )

    def _odd_images(self, images: int) -> Iterator[Misfit]:
        named: list[tuple[tuple[str | int, ...], int]] = [
            (("queries", index, "image"), query.image) for index, query in enumerate(self.queries or [])
        ]
        if self.grid is not None:
            named.append((("grid", "image"), self.grid.image))
        named += [(("targets", index), target) for index, target in enumerate(self.targets or [])]
        for path, image in named:
            if image >= images:
                yield Misfit(path, f"there is no image {image} in a set of {images}; use 0 to {images - 1}")
        for target, count in Counter(self.targets or []).items():
            if count > 1:
                yield Misfit(("targets",), f"image {target} stands {count} times among the targets; name it once")
        for source in self.sources:
            if source < images and not self.targets_of(source, images):
                yield Misfit(("targets",), f"the points of image {source} have no target but the image itself")

    def _repeated(self) -> Iterator[Misfit]:
        seen: dict[tuple[int, float, float] | str, int] = {}
        for index, query in enumerate(self.queries or []):
            place = (query.image, query.x, query.y)
            for key in (place, query.id):
                if key is None:
                    continue
                first = seen.setdefault(key, index)
                if first != index:
                    what = "has the same id as" if key == query.id else "is the same point as"
                    yield Misfit(("queries", index), f"query {index} {what} query {first}; leave one out")

    def _too_many(self, images: int) -> Iterator[Misfit]:
        most = MAX_EMBEDDINGS * (self.tuning.points_per_embedding or 1)
        if self.query_count <= most:
            return
        cost = self._work(images).tflop()
        path = ("queries",) if self.queries is not None else ("grid", "step")
        advice = "" if (self.tuning.points_per_embedding or 1) > 1 else ", or take preset 'joint' for up to 4096"
        yield Misfit(
            path,
            f"{self.query_count} points are asked for and a job of preset {self.preset!r} takes at most {most}; all "
            f"would cost about {cost:,.0f} TFLOP with SD 1.4. Submit them in several jobs{advice}",
        )


SPEC = MethodSpec(
    id="sd_correspondence",
    title="Stable Diffusion correspondence",
    summary="Finds points, or a grid of points, in other images by optimising prompts of Stable Diffusion, and shows "
    "where it attends.",
    paper="arXiv:2305.15581",
    version="0.1",
    form=ResultForm.PAIRWISE_MAPS,
    params=SdCorrespondenceParams,
    min_images=2,
    max_images=MAX_IMAGES,
    stages=(
        Stage(name="encoding", share=0.1),
        Stage(name="optimisation", share=0.55),
        Stage(name="transfer", share=0.2),
        Stage(name="cycle", share=0.1),
        Stage(name="export", share=0.05),
    ),
    extendable=True,
    implementation="workers.methods.sd_correspondence.pipeline:SdCorrespondence",
)
