"""How the networks of Stable Diffusion 1.x and 2.x are built, as far as we rely on it."""

from collections.abc import Mapping
from types import MappingProxyType

UNET: Mapping[str, object] = MappingProxyType(
    {
        "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        "layers_per_block": 2,
        "in_channels": 4,
        "center_input_sample": False,
        "class_embed_type": None,
        "num_class_embeds": None,
        "addition_embed_type": None,
        "encoder_hid_dim_type": None,
        "time_cond_proj_dim": None,
        "time_embedding_act_fn": None,
        "transformer_layers_per_block": 1,
        "only_cross_attention": False,
        "dual_cross_attention": False,
        "attention_type": "default",
        "cross_attention_norm": None,
    }
)
VAE: Mapping[str, object] = MappingProxyType(
    {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "latent_channels": 4,
        "use_quant_conv": True,
        "shift_factor": None,
    }
)


def check_topology(config: Mapping[str, object], expected: Mapping[str, object]) -> None:
    """Refuse a network that is built differently.

    Raises:
        ValueError: names the setting that differs.
    """
    for setting, value in expected.items():
        found = config[setting]
        found = tuple(found) if isinstance(found, list) else found
        if found != value:
            raise ValueError(f"{setting} is {found!r}, in Stable Diffusion 1.x and 2.x it is {value!r}")
