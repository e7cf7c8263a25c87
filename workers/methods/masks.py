"""Where the objects of a set are, as a job's parameters ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from api_schemas.methods.spec import MaskedParams
from workers.backbones.base import Tick
from workers.imaging.frames import WorkingFrames
from workers.methods.base import InputImage
from workers.saliency.sources import class_attention, set_masks

if TYPE_CHECKING:
    from workers.backbones.registry import BackboneProvider


def object_masks(
    backbones: BackboneProvider,
    params: MaskedParams,
    features: Tensor,
    frames: WorkingFrames,
    images: Sequence[InputImage],
    *,
    seed: int,
    tick: Tick,
) -> Tensor | None:
    """Return masks (N, 1, c, c) in [0, 1] on the cells of the features, or None where the whole images count.

    Args:
        backbones: give the attention that co-segmentation starts from.
        params: of the job.
        features: (N, C, c, c) of the frames.
        frames: the images in their working frames.
        images: as uploaded, with the masks that were given.
        seed: of the clustering.
        tick: shows life.

    Raises:
        ValueError: a mask does not fit its image, or what was asked for cannot be had; see `set_masks`.
    """
    prior = class_attention(backbones, params.backbone, tick=tick) if params.saliency == "cosegmentation" else None
    return set_masks(
        params.saliency,
        features,
        frames,
        [image.name for image in images],
        given=[image.mask for image in images if image.mask is not None],
        prior=prior,
        seed=seed,
        tick=tick,
    )
