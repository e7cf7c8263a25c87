"""Backbones that a user can choose, and what can be asked of each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

from pydantic import Field

from api_schemas.base import Schema, Text

BackboneName = Literal[
    "embedded",
    "dense_descriptor",
    "dino_vits8",
    "dino_vits16",
    "dino_vitb8",
    "dino_vitb16",
    "dinov2_vits14",
    "dinov2_vitb14",
    "dinov2_vitl14",
    "dinov2_vitg14",
    "dinov2_vits14_reg",
    "dinov2_vitb14_reg",
    "dinov2_vitl14_reg",
    "dinov2_vitg14_reg",
    "dinov3_vits16",
    "dinov3_vitb16",
    "dinov3_vitl16",
    "sd15",
    "sd15_dift",
    "sd15+dinov2_vitb14",
]
BackboneChoice = Literal["auto"] | BackboneName
Facet = Literal["key", "query", "value", "token", "attention"]

BACKBONE_NAMES: tuple[BackboneName, ...] = get_args(BackboneName)
FACETS: tuple[Facet, ...] = get_args(Facet)
HAND_MADE_BACKBONE: BackboneName = "dense_descriptor"
EMBEDDED_BACKBONE: BackboneName = "embedded"
BUILT_IN_BACKBONES: tuple[BackboneName, ...] = (EMBEDDED_BACKBONE, HAND_MADE_BACKBONE)
"""Those that every worker has at hand."""
MAX_CELLS = 96
LOG_BINS = 17
BYTES_PER_VALUE = 4
# `auto` takes the first of these that a worker has at hand.
AUTO_PREFERENCE: tuple[BackboneName, ...] = (
    "dinov2_vitb14_reg",
    "dinov2_vitb14",
    "dinov3_vitb16",
    "dinov2_vits14_reg",
    "dinov2_vits14",
    "dinov3_vits16",
    "dino_vits8",
    "dino_vitb8",
    "dino_vits16",
    "dino_vitb16",
    EMBEDDED_BACKBONE,
)


class FeatureOptions(Schema):
    """What of a backbone describes a place. What is left out is the backbone's own choice."""

    layer: int | None = Field(
        default=None,
        ge=0,
        le=63,
        description="Block to read, counted from 0: of a transformer any, of `sd15_dift` the U-Net's up block.",
    )
    facet: Facet | None = Field(
        default=None,
        description="What of a transformer's block: its keys, queries, values, tokens, or the class token's attention.",
    )
    stride: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="Pixels between two tokens of a transformer; divides its patch. Smaller is finer and slower.",
    )
    log_bins: bool | None = Field(
        default=None,
        description="Join each transformer feature with its surround in log-spaced bins: 17 times the channels.",
    )
    prompt: Text | None = Field(
        default=None, max_length=300, description="What diffusion features are told that the pictures show."
    )
    timestep: int | None = Field(
        default=None, ge=0, le=999, description="Noise level of diffusion features, of 1000; larger is more semantic."
    )
    ensemble: int | None = Field(
        default=None, ge=1, le=32, description="Draws of noise over which diffusion features are averaged."
    )
    freeu: bool | None = Field(
        default=None,
        description="Amplify the diffusion network's states (FreeU) as arXiv 2311.17034 does; a trained adapter fits "
        "features taken one way or the other.",
    )

    def given(self) -> list[str]:
        """Name the options that are set."""
        return [name for name in type(self).model_fields if getattr(self, name) is not None]


@dataclass(frozen=True, kw_only=True)
class BackboneInfo:
    """What the service must know of a backbone without loading it."""

    title: str
    weights: tuple[str, ...] = ()
    """Entries of the weights catalogue (`api_schemas.weights`) that it needs."""
    stride: int
    """Side of a feature cell in pixels, unless the options say otherwise."""
    channels: int
    """Of its features, unless the options say otherwise."""
    defaults: FeatureOptions = field(default_factory=FeatureOptions)
    """Every option that it takes, with its own choice."""
    layers: int = 0
    """Blocks that `layer` can name."""
    patch: int = 0
    """Side in pixels of a transformer's patch, which `stride` must divide."""

    @property
    def strides(self) -> list[int]:
        """Strides it takes."""
        return [step for step in range(1, self.patch + 1) if self.patch % step == 0]


@dataclass(frozen=True)
class OptionFault:
    """An option that a backbone does not take."""

    option: str
    detail: str


def faults(name: str, options: FeatureOptions) -> list[OptionFault]:
    """Find the options that do not fit a backbone; each fault lists what there is."""
    info = BACKBONES[name]
    taken = info.defaults.given()
    can = f"it takes {', '.join(taken)}" if taken else "it takes no options"
    found = [
        OptionFault(option, f"backbone {name!r} has no {option}; {can}")
        for option in options.given()
        if option not in taken
    ]
    if "layer" in taken and options.layer is not None and options.layer >= info.layers:
        detail = f"backbone {name!r} has no layer {options.layer}; it has 0 to {info.layers - 1}"
        found.append(OptionFault("layer", detail))
    if "stride" in taken and options.stride is not None and options.stride not in info.strides:
        known = ", ".join(map(str, info.strides))
        detail = f"the patch of {name!r} is {info.patch} pixels, which {options.stride} does not divide; use {known}"
        found.append(OptionFault("stride", detail))
    if options.facet == "attention" and options.log_bins:
        found.append(OptionFault("log_bins", "attention cannot be binned; leave out log_bins or take another facet"))
    return found


def completed(name: str, options: FeatureOptions) -> FeatureOptions:
    """Fill in a backbone's own choices.

    Raises:
        ValueError: an option does not fit; the message lists what there is.
    """
    found = faults(name, options)
    if found:
        raise ValueError("; ".join(fault.detail for fault in found))
    given = {option: getattr(options, option) for option in options.given()}
    return BACKBONES[name].defaults.model_copy(update=given)


def frame_cells(stride: float, size: int) -> int:
    """Cells a side of the features of frames of `size` pixels; at most 96, so that memory stays bounded."""
    return min(MAX_CELLS, round(size / stride))


def feature_bytes(name: str, options: FeatureOptions, size: int) -> int:
    """Memory of the features of one frame of `size` pixels a side."""
    info = BACKBONES[name]
    channels = info.channels * (LOG_BINS if options.log_bins else 1)
    return BYTES_PER_VALUE * channels * frame_cells(options.stride or info.stride, size) ** 2


def _vit(title: str, weights: str, *, patch: int, size: str, facet: Facet) -> BackboneInfo:
    blocks = _BLOCKS[size]
    return BackboneInfo(
        title=title,
        weights=(weights,),
        stride=patch // 2,
        channels=_CHANNELS[size],
        defaults=FeatureOptions(layer=blocks - 1, facet=facet, stride=patch // 2, log_bins=False),
        layers=blocks,
        patch=patch,
    )


_BLOCKS = {"s": 12, "b": 12, "l": 24, "g": 40}
_CHANNELS = {"s": 384, "b": 768, "l": 1024, "g": 1536}
_SIZES = {"s": "ViT-S", "b": "ViT-B", "l": "ViT-L", "g": "ViT-g"}


def _transformers() -> dict[str, BackboneInfo]:
    found: dict[str, BackboneInfo] = {}
    for name in BACKBONE_NAMES:
        family, _, model = name.partition("_vit")
        if not model or "+" in name:
            continue
        size, patch = model[0], int(model[1:].removesuffix("_reg"))
        title = f"{ {'dino': 'DINO', 'dinov2': 'DINOv2', 'dinov3': 'DINOv3'}[family] } {_SIZES[size]}/{patch}"
        title += " with registers" if name.endswith("_reg") else ""
        # Keys as in Deep ViT Features (arXiv 2112.05814); of DINOv2 and DINOv3 the tokens match better.
        found[name] = _vit(title, name, patch=patch, size=size, facet="key" if family == "dino" else "token")
    return found


BACKBONES: Mapping[str, BackboneInfo] = MappingProxyType(
    {
        "embedded": BackboneInfo(title="Congeal's own small network; its weights come along", stride=4, channels=192),
        "dense_descriptor": BackboneInfo(title="Dense gradient histograms; needs no weights", stride=4, channels=228),
        **_transformers(),
        "sd15": BackboneInfo(
            title="Stable Diffusion 1.5, three layers of the U-Net's decoder",
            weights=("sd15",),
            stride=16,
            channels=3200,
            defaults=FeatureOptions(prompt="", timestep=50, freeu=True),
        ),
        "sd15_dift": BackboneInfo(
            title="DIFT features of Stable Diffusion 1.5",
            weights=("sd15",),
            stride=16,
            channels=1280,
            defaults=FeatureOptions(layer=1, prompt="", timestep=261, ensemble=8),
            layers=4,
        ),
        "sd15+dinov2_vitb14": BackboneInfo(
            title="Stable Diffusion 1.5 joined with DINOv2 ViT-B/14",
            weights=("sd15", "dinov2_vitb14"),
            stride=16,
            channels=3968,
            defaults=FeatureOptions(prompt="", timestep=50, freeu=True),
        ),
    }
)
