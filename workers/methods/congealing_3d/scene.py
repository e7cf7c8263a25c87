"""The images of a job as the search for poses sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from api_schemas.methods.congealing_3d import Congealing3dParams
from workers.imaging.frames import inner_map
from workers.methods.base import InputImage, UnfitImagesError
from workers.methods.congealing_3d.pose.crops import FULL_SHARE, LEAST_SHARE, Crops, cropped, object_windows
from workers.methods.congealing_3d.settings import describe_options
from workers.methods.features import Heartbeat, describe_set
from workers.methods.masks import object_masks

if TYPE_CHECKING:
    from workers.backbones.registry import BackboneProvider

Mask = npt.NDArray[np.float32]
_MASKS_SIZE = 256


@dataclass(frozen=True)
class Scene:
    """What is known of N images.

    Attributes:
        images: all of them.
        masks: (H, W) each, in [0, 1], or None where nobody knows what the object is.
        shown: indices of the images that show an object; the others get no pose.
        crops: of the images shown.
        problems: of each image: what is wrong with it.
    """

    images: Sequence[InputImage]
    masks: list[Mask] | None
    shown: list[int]
    crops: Crops
    problems: list[list[str]]

    @property
    def aspects(self) -> Tensor:
        """Width by height (n,) of the images shown."""
        return torch.tensor([self.images[index].width / self.images[index].height for index in self.shown])

    @property
    def is_tight(self) -> Tensor:
        """Whether masks or boxes tell where the images shown have their object, (n,) bool."""
        known = [self.images[index].annotation for index in self.shown]
        boxed = [annotation is not None and annotation.box is not None for annotation in known]
        return torch.tensor([self.masks is not None or has_box for has_box in boxed])


def set_scene(
    backbones: BackboneProvider,
    images: Sequence[InputImage],
    params: Congealing3dParams,
    pulse: Heartbeat,
    *,
    seed: int,
    device: torch.device,
) -> Scene:
    """Find the objects and cut them out.

    Raises:
        UnfitImagesError: no image shows an object.
        ValueError: a mask does not fit its image.
    """
    masks = _masks(backbones, images, params, pulse, seed, device)
    problems: list[list[str]] = [[] for _ in images]
    shown = list(range(len(images)))
    if masks is not None:
        shares = [float((mask > 0.5).mean()) for mask in masks]
        shown = [index for index, share in enumerate(shares) if share >= LEAST_SHARE]
        for index, share in enumerate(shares):
            if share < LEAST_SHARE:
                problems[index].append("mask_too_small")
            elif share > FULL_SHARE:
                problems[index].append("mask_full")
    if not shown:
        raise UnfitImagesError(
            f"no mask covers {LEAST_SHARE:.0%} of its image; give masks that are white where the object is, or none"
        )
    chosen = [images[index] for index in shown]
    their_masks = None if masks is None else [masks[index] for index in shown]
    windows = object_windows(chosen, their_masks)
    crops = cropped(chosen, windows, their_masks, describe_options(params).size)
    return Scene(images, masks, shown, crops, problems)


def _masks(
    backbones: BackboneProvider,
    images: Sequence[InputImage],
    params: Congealing3dParams,
    pulse: Heartbeat,
    seed: int,
    device: torch.device,
) -> list[Mask] | None:
    given = [image.mask for image in images if image.mask is not None]
    if params.saliency == "none" or (params.saliency == "auto" and not given):
        return None
    if params.saliency != "cosegmentation":
        return [_given(image) for image in images]
    backbone = backbones.get(params.backbone, params.features)
    frames, features = describe_set(
        backbone, images, size=_MASKS_SIZE, device=device, pulse=pulse, cache=backbones.cache
    )
    found = object_masks(backbones, params, features, frames, images, seed=seed, tick=pulse.beat)
    assert found is not None
    return [
        _enlarged(inner_map(found[index], box), image)
        for index, (box, image) in enumerate(zip(frames.boxes, images, strict=True))
    ]


def _given(image: InputImage) -> Mask:
    if image.mask is None:
        raise ValueError(f"{image.name} has no mask; give masks for all images or for none")
    if image.mask.shape != image.rgb.shape[:2]:
        rows, columns = image.mask.shape
        raise ValueError(
            f"the mask of {image.name} is {columns} x {rows} pixels, its image {image.width} x {image.height}; "
            "give one of the image's size"
        )
    return (image.mask / np.float32(255)).astype(np.float32)


def _enlarged(mask: Tensor, image: InputImage) -> Mask:
    size = (image.height, image.width)
    found: Mask = interpolate(mask.unsqueeze(0), size, mode="bilinear")[0, 0].clamp(0, 1).cpu().numpy()
    return found


def pooled(masks: Tensor | None, size: int) -> Tensor | None:
    """Masks (N, 1, S, S) on a coarser grid."""
    return None if masks is None else adaptive_avg_pool2d(masks, size)
