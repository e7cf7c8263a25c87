"""Where a method learns what of each image is the object."""

from typing import Literal, get_args

from api_schemas.backbones import BACKBONES

SaliencySource = Literal["none", "cosegmentation", "user"]
"""Where masks come from.

`none`: the whole picture counts; `cosegmentation`: what the images have in common; `user`: masks given with them.
"""

SaliencyChoice = Literal["auto"] | SaliencySource
"""`auto` becomes `user` at submission where masks are given, else `none`."""

SALIENCY_SOURCES: tuple[SaliencySource, ...] = get_args(SaliencySource)


def has_class_attention(backbone: str) -> bool:
    """Whether a backbone has a class token whose attention shows what stands out: all transformers on their own."""
    return backbone in BACKBONES and BACKBONES[backbone].defaults.facet is not None


def saliency_fault(source: SaliencySource, backbone: str) -> str | None:
    """Say why a backbone cannot serve a source, and what to do; None if it can."""
    if source != "cosegmentation" or has_class_attention(backbone):
        return None
    able = ", ".join(name for name in BACKBONES if has_class_attention(name))
    return (
        f"co-segmentation needs a class token's attention, which backbone {backbone!r} does not have; "
        f"give masks (saliency 'user'), take the whole pictures (saliency 'none'), or use one of {able}"
    )
