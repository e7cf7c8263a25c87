"""Masks for a set of images, from the source that a user chose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from api_schemas.backbones import BACKBONES, FeatureOptions
from api_schemas.saliency import SaliencyChoice, saliency_fault
from workers.backbones.base import Backbone, Tick, no_tick
from workers.backbones.cache import FeatureCache, extract_cached
from workers.backbones.vit.saliency import SALIENT_HEADS, attention_saliency
from workers.imaging.frames import WorkingFrames
from workers.saliency.cosegmentation import CoSegmentationOptions, cosegment
from workers.saliency.user_masks import GivenMask, user_masks

if TYPE_CHECKING:
    from workers.backbones.registry import BackboneProvider

Prior = Callable[[Tensor], Tensor]
"""From pictures (N, 3, H, W) to saliency (N, 1, h, w), each picture's stretched to [0, 1]."""


def set_masks(
    source: SaliencyChoice,
    features: Tensor,
    frames: WorkingFrames,
    names: Sequence[str],
    *,
    given: Sequence[GivenMask] = (),
    prior: Prior | None = None,
    options: CoSegmentationOptions | None = None,
    seed: int = 0,
    tick: Tick = no_tick,
) -> Tensor | None:
    """Return masks (N, 1, c, c) in [0, 1] on the cells of the features, or None where the whole pictures count.

    Args:
        source: where the masks come from; `auto` takes those given, if any.
        features: (N, C, c, c) of the frames.
        frames: the images in their working frames.
        names: of the images, for messages.
        given: for `user` and `auto`: one mask per image, see `user_masks`.
        prior: for `cosegmentation`: see `class_attention`.
        options: of the co-segmentation.

    Raises:
        ValueError: the source lacks what it needs, a given mask does not fit, or no image has any foreground.
    """
    cells = int(features.shape[-1])
    if source == "none" or (source == "auto" and not given):
        return None
    if source in ("user", "auto"):
        return user_masks(given, frames, names, cells=cells)
    if prior is None:
        raise ValueError("co-segmentation needs a saliency prior; choose a backbone with a class token")
    found = cosegment(
        features, prior(frames.pictures), frames.pictures, options, valid=frames.valid(cells), seed=seed, tick=tick
    )
    if not bool(found.found.any()):
        raise ValueError(
            "co-segmentation found nothing that stands out in the images; "
            "give masks (saliency 'user') or take the whole pictures (saliency 'none')"
        )
    return found.masks


def class_attention(backbones: BackboneProvider, choice: str, *, tick: Tick = no_tick) -> Prior:
    """Prior from the attention of a transformer's class token in its last block, at its own patches.

    Raises:
        ValueError: the backbone has no class token; lists those that have.
    """
    name = backbones.resolve(choice)
    fault = saliency_fault("cosegmentation", name)
    if fault is not None:
        raise ValueError(fault)
    whole_patches = FeatureOptions(facet="attention", stride=BACKBONES[name].patch)
    return attention_prior(backbones.get(name, whole_patches), cache=backbones.cache, tick=tick)


def attention_prior(backbone: Backbone, *, cache: FeatureCache | None = None, tick: Tick = no_tick) -> Prior:
    """Prior from a backbone whose features are attention, which `cache` keeps."""
    heads = SALIENT_HEADS.get(backbone.name)
    return lambda pictures: attention_saliency(extract_cached(backbone, pictures, cache, tick=tick)[0], heads)
