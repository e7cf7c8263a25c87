"""What the official checkpoints call the parts of the networks, and what diffusers and transformers call them."""

from collections.abc import Iterable, Iterator

UNET_PREFIX, VAE_PREFIX, TEXT_PREFIX = "model.diffusion_model.", "first_stage_model.", "cond_stage_model.model."
"""Of the tensors' names in a released file, which holds the whole latent-diffusion model."""

_LEVELS, _LAYERS = 4, 2

Pairs = Iterator[tuple[str, str]]


class Names:
    """Names of modules by which tensors are renamed, there and back."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Take pairs of an official name and ours; what follows a module's name stays as it is."""
        self._ours = dict(pairs)
        self._official = {ours: official for official, ours in self._ours.items()}

    def ours(self, official: str) -> str | None:
        """Rename a tensor as diffusers or transformers has it; None where the table does not know its module."""
        return _renamed(official, self._ours)

    def official(self, ours: str) -> str | None:
        """Rename it back."""
        return _renamed(ours, self._official)


def _renamed(name: str, modules: dict[str, str]) -> str | None:
    module, dot, rest = name, "", ""
    while module:
        if module in modules:
            return modules[module] + dot + rest
        module, dot, last = module.rpartition(".")
        rest = f"{last}.{rest}" if rest else last
    return None


_UNET_RESNET = {
    "in_layers.0": "norm1",
    "in_layers.2": "conv1",
    "emb_layers.1": "time_emb_proj",
    "out_layers.0": "norm2",
    "out_layers.3": "conv2",
    "skip_connection": "conv_shortcut",
}
_UNET_ENDS = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "camera_embed.0": "class_embedding.linear_1",
    "camera_embed.2": "class_embedding.linear_2",
    "input_blocks.0.0": "conv_in",
    "out.0": "conv_norm_out",
    "out.2": "conv_out",
}


def _unet_pairs() -> Pairs:
    yield from _UNET_ENDS.items()
    for level in range(_LEVELS):
        for layer in range(_LAYERS):
            block = 1 + 3 * level + layer
            yield from _unet_resnet(f"input_blocks.{block}.0", f"down_blocks.{level}.resnets.{layer}")
            if level < _LEVELS - 1:
                yield f"input_blocks.{block}.1", f"down_blocks.{level}.attentions.{layer}"
        if level < _LEVELS - 1:
            yield f"input_blocks.{3 * level + 3}.0.op", f"down_blocks.{level}.downsamplers.0.conv"
    for index, name in ((0, "resnets.0"), (2, "resnets.1")):
        yield from _unet_resnet(f"middle_block.{index}", f"mid_block.{name}")
    yield "middle_block.1", "mid_block.attentions.0"
    for level in range(_LEVELS):
        for layer in range(_LAYERS + 1):
            block = 3 * level + layer
            yield from _unet_resnet(f"output_blocks.{block}.0", f"up_blocks.{level}.resnets.{layer}")
            if level > 0:
                yield f"output_blocks.{block}.1", f"up_blocks.{level}.attentions.{layer}"
        if level < _LEVELS - 1:
            after = 2 if level > 0 else 1
            yield f"output_blocks.{3 * level + 2}.{after}.conv", f"up_blocks.{level}.upsamplers.0.conv"


def _unet_resnet(official: str, ours: str) -> Pairs:
    for inner, name in _UNET_RESNET.items():
        yield f"{official}.{inner}", f"{ours}.{name}"


_VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}
_VAE_RESNET = ("norm1", "conv1", "norm2", "conv2")


def _vae_pairs() -> Pairs:
    for name in ("quant_conv", "post_quant_conv"):
        yield name, name
    for half in ("encoder", "decoder"):
        yield f"{half}.conv_in", f"{half}.conv_in"
        yield f"{half}.norm_out", f"{half}.conv_norm_out"
        yield f"{half}.conv_out", f"{half}.conv_out"
        for index in range(2):
            yield from _vae_resnet(f"{half}.mid.block_{index + 1}", f"{half}.mid_block.resnets.{index}")
        for inner, name in _VAE_ATTENTION.items():
            yield f"{half}.mid.attn_1.{inner}", f"{half}.mid_block.attentions.0.{name}"
    for level in range(_LEVELS):
        down, up = f"encoder.down_blocks.{level}", f"decoder.up_blocks.{_LEVELS - 1 - level}"
        for layer in range(_LAYERS):
            yield from _vae_resnet(f"encoder.down.{level}.block.{layer}", f"{down}.resnets.{layer}")
        for layer in range(_LAYERS + 1):
            yield from _vae_resnet(f"decoder.up.{level}.block.{layer}", f"{up}.resnets.{layer}")
        yield f"encoder.down.{level}.downsample.conv", f"{down}.downsamplers.0.conv"
        yield f"decoder.up.{level}.upsample.conv", f"{up}.upsamplers.0.conv"


def _vae_resnet(official: str, ours: str) -> Pairs:
    for name in _VAE_RESNET:
        yield f"{official}.{name}", f"{ours}.{name}"
    yield f"{official}.nin_shortcut", f"{ours}.conv_shortcut"


_TEXT_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_MAX_TEXT_LAYERS = 24


def _text_pairs() -> Pairs:
    yield "token_embedding", "embeddings.token_embedding"
    yield "positional_embedding", "embeddings.position_embedding.weight"
    yield "ln_final", "final_layer_norm"
    for layer in range(_MAX_TEXT_LAYERS):
        for inner, name in _TEXT_BLOCK.items():
            yield f"transformer.resblocks.{layer}.{inner}", f"encoder.layers.{layer}.{name}"


UNET_NAMES = Names(_unet_pairs())
"""All tensors of the U-Net."""
VAE_NAMES = Names(_vae_pairs())
"""All tensors of the autoencoder; the attentions' kernels of 1 x 1 become matrices."""
TEXT_NAMES = Names(_text_pairs())
"""OpenCLIP's text encoder without the joint matrices of its attentions, which `conversion` takes apart."""
