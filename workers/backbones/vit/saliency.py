"""Where a transformer looks: saliency from the class token's attention."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from torch import Tensor

SALIENT_HEADS: Mapping[str, tuple[int, ...]] = MappingProxyType({"dino_vits8": (0, 2, 4, 5)})
"""Heads of the last block that look at objects, by backbone: those that Deep ViT Features (arXiv 2112.05814) uses of
ViT-S/8, whose others look at the background. Of backbones that are not here, all heads count."""


def attention_saliency(attention: Tensor, heads: Sequence[int] | None = None) -> Tensor:
    """Average the class token's attention over heads and stretch it to [0, 1], each image by itself.

    Args:
        attention: (N, heads, h, w), the facet `attention` of the last block.
        heads: which to average; all by default, see `SALIENT_HEADS`.

    Returns:
        (N, 1, h, w) in [0, 1], 0 everywhere in an image whose attention is flat.
    """
    chosen = attention if heads is None else attention[:, list(heads)]
    mean = chosen.mean(dim=1, keepdim=True)
    low, high = mean.amin(dim=(2, 3), keepdim=True), mean.amax(dim=(2, 3), keepdim=True)
    span = high - low
    return (mean - low) / span.where(span > 0, 1)
