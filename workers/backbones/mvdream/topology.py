"""How MVDream's U-Nets are built: as those of Stable Diffusion 1.5 and 2.1, with an embedding of cameras."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from workers.backbones.diffusion.topology import UNET, check_topology

CAMERA_VALUES = 16
"""Numbers that describe a camera, see `conditions.camera_conditions`."""
HEAD_WIDTH = 64
"""Channels of an attention head, here and in OpenCLIP, unless a configuration says otherwise."""

_CAMERAS: Mapping[str, object] = MappingProxyType(
    {"class_embed_type": "projection", "projection_class_embeddings_input_dim": CAMERA_VALUES}
)
_OFFICIAL: Mapping[str, object] = MappingProxyType(
    {
        "in_channels": 4,
        "out_channels": 4,
        "num_res_blocks": 2,
        "attention_resolutions": [4, 2, 1],
        "transformer_depth": 1,
        "camera_dim": CAMERA_VALUES,
    }
)
OFFICIAL_CLASS = "MultiViewUNetModel"
"""What the hub's configuration calls a U-Net whose file has the official names."""


@dataclass(frozen=True)
class Layout:
    """What tells U-Nets of MVDream apart.

    Attributes:
        widths: channels of the four levels, finest first.
        heads: attention heads of the four levels.
        context_width: channels of the text encoder's states.
        linear_projection: whether transformers begin and end with a matrix, else with a 1 x 1 convolution.
    """

    widths: tuple[int, ...]
    heads: tuple[int, ...]
    context_width: int
    linear_projection: bool

    @classmethod
    def of_official(cls, config: Mapping[str, Any]) -> "Layout":
        """Read the hub's configuration of a U-Net with the official names; such ones have matrices.

        Raises:
            ValueError: it describes another network; names the setting.
            KeyError: a setting is missing.
        """
        for setting, value in _OFFICIAL.items():
            if config[setting] != value:
                raise ValueError(f"{setting} is {config[setting]!r}, in MVDream it is {value!r}")
        if config.get("ip_dim"):
            raise ValueError("ip_dim is set: this is ImageDream, which also asks for a picture")
        widths = tuple(int(config["model_channels"] * factor) for factor in config["channel_mult"])
        return cls(widths, heads_of(widths, int(config["num_head_channels"])), int(config["context_dim"]), True)

    def unet_config(self) -> dict[str, Any]:
        """Settings of diffusers' `UNet2DConditionModel`; what is not named is as by default."""
        return {
            "sample_size": 32,
            "block_out_channels": list(self.widths),
            "attention_head_dim": list(self.heads),  # diffusers' name for what it takes as their number
            "cross_attention_dim": self.context_width,
            "use_linear_projection": self.linear_projection,
            **_CAMERAS,
        }


def heads_of(widths: tuple[int, ...], head_width: int = HEAD_WIDTH) -> tuple[int, ...]:
    """Count the heads of `head_width` channels in each level; one in a narrower level."""
    return tuple(max(1, width // head_width) for width in widths)


def check_unet(config: Mapping[str, object]) -> None:
    """Refuse a U-Net of diffusers that is not MVDream's.

    Raises:
        ValueError: names the setting that differs.
    """
    for setting, value in _CAMERAS.items():
        if config[setting] != value:
            raise ValueError(f"{setting} is {config[setting]!r}, in MVDream it is {value!r}")
    check_topology(config, {setting: value for setting, value in UNET.items() if setting not in _CAMERAS})


_WIDTHS = (320, 640, 1280, 1280)
SD21 = Layout(_WIDTHS, heads_of(_WIDTHS), 1024, linear_projection=True)
"""`sd-v2.1-base-4view`."""
SD15 = Layout(_WIDTHS, (8, 8, 8, 8), 768, linear_projection=False)
"""`sd-v1.5-4view`."""
