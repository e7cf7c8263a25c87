"""Names of the backbones that a user can type. What weights they need is known to the workers alone."""

from typing import Literal, get_args

BackboneName = Literal[
    "dense_descriptor",
    "dino_vits8",
    "dino_vits16",
    "dino_vitb8",
    "dino_vitb16",
    "dinov2_vits14",
    "dinov2_vitb14",
    "dinov2_vits14_reg",
    "dinov2_vitb14_reg",
]
BackboneChoice = Literal["auto"] | BackboneName

BACKBONE_NAMES: tuple[str, ...] = get_args(BackboneName)
WEIGHT_FREE_BACKBONE: BackboneName = "dense_descriptor"
# `auto` takes the first of these that a worker has at hand.
AUTO_PREFERENCE: tuple[BackboneName, ...] = (
    "dinov2_vitb14_reg",
    "dinov2_vitb14",
    "dinov2_vits14_reg",
    "dinov2_vits14",
    "dino_vits8",
    "dino_vitb8",
    "dino_vits16",
    "dino_vitb16",
    WEIGHT_FREE_BACKBONE,
)
