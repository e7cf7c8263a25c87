"""Transformers of the real classes, small and random."""

import timm
import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from api_schemas.backbones import Facet, FeatureOptions
from workers.backbones.base import Compute
from workers.backbones.vit.backbone import VitBackbone
from workers.backbones.vit.network import VitNetwork

DEPTH, DIM, HEADS = 3, 24, 3
ARCHITECTURES = {
    "dino": "vit_small_patch8_224.dino",
    "dinov2": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_reg": "vit_small_patch14_reg4_dinov2.lvd142m",
    "dinov2_giant": "vit_giant_patch14_dinov2.lvd142m",
    "dinov3": "vit_small_patch16_dinov3.lvd1689m",
    "dinov3_bias": "vit_small_patch16_dinov3_qkvb.lvd1689m",
}


def tiny_model(family: str) -> VisionTransformer | Eva:
    """Build a family's network with 4 x 4 learned positions and numbers that make every part count."""
    architecture = ARCHITECTURES[family]
    patch = int(architecture.split("patch")[1].split("_")[0])
    model = timm.create_model(
        architecture, num_classes=0, img_size=4 * patch, embed_dim=DIM, depth=DEPTH, num_heads=HEADS
    )
    assert isinstance(model, VisionTransformer | Eva)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 0.2 if parameter.ndim > 1 else 0.5
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return model.eval().requires_grad_(False)


def tiny_network(family: str = "dino") -> VitNetwork:
    return VitNetwork(tiny_model(family), digest="d1")


def options(layer: int, facet: Facet, stride: int, *, log_bins: bool = False) -> FeatureOptions:
    return FeatureOptions(layer=layer, facet=facet, stride=stride, log_bins=log_bins)


def tiny_backbone(
    wanted: FeatureOptions, network: VitNetwork | None = None, compute: Compute | None = None
) -> VitBackbone:
    return VitBackbone(network or tiny_network(), name="tiny", options=wanted, compute=compute or Compute())


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))
