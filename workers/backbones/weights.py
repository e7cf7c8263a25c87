"""Names, sources, sizes and licences of the weights that backbones need, and where they lie on this machine.

This module alone knows them. Files are looked for in the weights folder (`CONGEAL_WEIGHTS_DIR`), as
`<backbone>/model.safetensors`, then in the hub's cache. Only safetensors are read; nothing is unpickled.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from huggingface_hub import try_to_load_from_cache
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from api_schemas.backbones import BackboneName

FILE_NAME = "model.safetensors"
Facet = Literal["key", "token"]


class WeightsError(RuntimeError):
    """Weights are missing or are not what they should be."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One network's weights in the hub."""

    backbone: BackboneName
    hub_id: str
    timm_model: str
    """Name of the architecture in timm."""
    bytes: int
    """Size of the file, rounded."""
    license: str
    patch: int
    stride: int
    """Step between tokens in pixels; half a patch doubles the resolution."""
    facet: Facet
    """What of the last block describes a place: its keys (Neural Congealing, arXiv 2302.03956) or its tokens."""


def _dino(backbone: BackboneName, size: str, patch: int, megabytes: int) -> Weights:
    return _timm(backbone, f"vit_{size}_patch{patch}_224.dino", patch, megabytes, facet="key")


def _dinov2(backbone: BackboneName, size: str, registers: str, megabytes: int) -> Weights:
    return _timm(backbone, f"vit_{size}_patch14{registers}_dinov2.lvd142m", 14, megabytes, facet="token")


def _timm(backbone: BackboneName, model: str, patch: int, megabytes: int, *, facet: Facet) -> Weights:
    return Weights(
        backbone=backbone,
        hub_id=f"timm/{model}",
        timm_model=model,
        bytes=megabytes * 10**6,
        license="Apache-2.0",
        patch=patch,
        stride=patch // 2,
        facet=facet,
    )


WEIGHTS: Mapping[str, Weights] = {
    weights.backbone: weights
    for weights in (
        _dino("dino_vits8", "small", 8, 87),
        _dino("dino_vits16", "small", 16, 87),
        _dino("dino_vitb8", "base", 8, 343),
        _dino("dino_vitb16", "base", 16, 343),
        _dinov2("dinov2_vits14", "small", "", 88),
        _dinov2("dinov2_vitb14", "base", "", 346),
        _dinov2("dinov2_vits14_reg", "small", "_reg4", 88),
        _dinov2("dinov2_vitb14_reg", "base", "_reg4", 346),
    )
}


def find_weights(weights: Weights, weights_dir: Path | None) -> Path | None:
    """Return the file on this machine, or None: the weights folder first, then the hub's cache."""
    if weights_dir is not None:
        local = weights_dir / weights.backbone / FILE_NAME
        if local.is_file():
            return local
    cached = try_to_load_from_cache(weights.hub_id, FILE_NAME)
    return Path(cached) if isinstance(cached, str) else None


def load_weights(weights: Weights, weights_dir: Path | None) -> dict[str, Tensor]:
    """Read the tensors by name, onto the CPU.

    Raises:
        WeightsError: there is no file, or it is no whole safetensors file.
    """
    path = find_weights(weights, weights_dir)
    if path is None:
        raise WeightsError(_missing(weights))
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights of {weights.backbone} in {path.name} cannot be read: {error}") from error


def _missing(weights: Weights) -> str:
    return (
        f"weights of {weights.backbone} are not on this machine. Put {FILE_NAME} of {weights.hub_id} "
        f"({weights.bytes / 1e6:.0f} MB, {weights.license}) into $CONGEAL_WEIGHTS_DIR/{weights.backbone}/, or into the "
        f"hub's cache with `hf download {weights.hub_id} {FILE_NAME}`"
    )
