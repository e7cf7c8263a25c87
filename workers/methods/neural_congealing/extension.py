"""Adding images to a finished atlas: only the new ones' maps are optimised, against pictures that stand in the atlas.

The anchors are images of the finished result, seen through their own maps, so that they show the atlas' frame. They
are described like any picture, which makes this work for every backbone, also for features that change with the pose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from pydantic import JsonValue
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from alignment.atlas import Atlas
from workers.backbones.cache import FeatureCache
from workers.geometry.coordinates import identity_grid, resize_grid, sample
from workers.geometry.letterbox import Letterbox
from workers.geometry.similarity import invert, similarity_parameters, transform
from workers.imaging.frames import WorkingFrames, upload_to_frame
from workers.methods.base import BaseResult
from workers.methods.features import Heartbeat, describe_frames
from workers.methods.neural_congealing.direct import align
from workers.methods.neural_congealing.inputs import DescribedSet
from workers.methods.neural_congealing.options import DirectOptions
from workers.methods.neural_congealing.result import CongealingResult

MAX_ANCHORS = 12


@dataclass(frozen=True)
class FinishedAtlas:
    """A finished result in the working frames of its images.

    Attributes:
        frames: its B images.
        grids: (B, A, A, 2) atlas -> picture as uploaded, normalised.
        scores: per image, as in `MethodResult.scores`.
        features: (D, A, A) of the atlas.
        saliency: (A, A) in [0, 1].
    """

    frames: WorkingFrames
    grids: Tensor
    scores: Sequence[Mapping[str, JsonValue]]
    features: Tensor
    saliency: Tensor

    def figures(self, name: str) -> Tensor:
        """One of the scores of all images, (B, ...)."""
        return torch.tensor([score[name] for score in self.scores], dtype=torch.float32, device=self.grids.device)


def finished_atlas(base: BaseResult, frames: WorkingFrames) -> FinishedAtlas:
    """Bring a stored result into the working frames of its images.

    Raises:
        ValueError: the result is not an atlas with all that belongs to it.
    """
    missing = {"atlas_features", "atlas_saliency"} - set(base.tensors)
    if not isinstance(base.form, Atlas) or missing:
        raise ValueError(f"the result to extend lacks {', '.join(sorted(missing)) or 'an atlas'}; compute it anew")
    device = frames.pictures.device
    maps = [torch.from_numpy(np.array(grid, dtype=np.float32)) for grid in base.form.from_canonical]
    return FinishedAtlas(
        frames=frames,
        grids=torch.stack([upload_to_frame(grid, box) for grid, box in zip(maps, frames.boxes, strict=True)]).to(
            device
        ),
        scores=base.scores,
        features=torch.from_numpy(np.array(base.tensors["atlas_features"], dtype=np.float32)).to(device),
        saliency=torch.from_numpy(np.array(base.tensors["atlas_saliency"], dtype=np.float32)).to(device),
    )


def align_new(
    finished: FinishedAtlas,
    described: DescribedSet,
    options: DirectOptions,
    *,
    seed: int,
    pulse: Heartbeat,
    cache: FeatureCache | None,
) -> CongealingResult:
    """Align new images to a finished atlas.

    Args:
        finished: the atlas and its images.
        described: the new images alone.
        options: settings of the optimisation.
        seed: of all random choices.
        pulse: progress, checkpoints, cancellation.
        cache: of features.

    Returns:
        The alignment of the new images alone, in the finished atlas' frame.
    """
    pictures, inside = _seen_in_atlas(finished, _best(finished))
    together = _joined(described, finished, pictures, inside, pulse, cache)
    anchored = torch.arange(len(together.features), device=pictures.device) < len(pictures)
    result = align(
        together.features,
        together.mirrored_features,
        together.masks,
        together.valid,
        options,
        seed=seed,
        hooks=pulse,
        describe=together.describer(pulse),
        anchors=anchored,
    )
    return _only(result, ~anchored)


def with_new(finished: FinishedAtlas, new: CongealingResult) -> CongealingResult:
    """The alignment of all images: those of the finished atlas as they are, then the new ones."""
    mirrored = finished.figures("mirrored") > 0
    matrices = finished.figures("matrix")
    size = finished.grids.shape[1]
    side = torch.where(mirrored, -1.0, 1.0).view(-1, 1, 1)
    in_picture = torch.stack([finished.grids[..., 0] * side, finished.grids[..., 1]], dim=-1)
    flows = transform(invert(matrices), in_picture) - identity_grid(size, size, device=matrices.device)
    theta, scale, tx, ty = similarity_parameters(matrices).unbind(-1)
    old = replace(
        new,
        mirrored=mirrored,
        theta=theta,
        scale=scale,
        tx=tx,
        ty=ty,
        matrices=matrices,
        flows=flows,
        grids=finished.grids,
        scores=finished.figures("agreement"),
        outlier=finished.figures("outlier") > 0,
        fold=finished.figures("fold_over"),
    )
    joined: dict[str, Any] = {name: torch.cat([getattr(old, name), getattr(new, name)]) for name in _per_image()}
    return replace(new, **joined, atlas_features=finished.features, atlas_saliency=finished.saliency)


def _best(finished: FinishedAtlas) -> Tensor:
    """Indices (K,) of the images that agree best with the others; those that do not belong come last."""
    order = finished.figures("agreement") - 2 * finished.figures("outlier")
    count = min(MAX_ANCHORS, max(1, int((finished.figures("outlier") == 0).sum())))
    return order.argsort(descending=True)[:count].sort().values


def _seen_in_atlas(finished: FinishedAtlas, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures (K, 3, S, S) in the atlas' frame, and the area (K, 1, S, S) in which they show an upload."""
    frames = finished.frames
    grids = resize_grid(finished.grids[chosen], frames.size)
    inside = sample(frames.valid(frames.size)[chosen], grids, padding="zeros")
    return sample(frames.pictures[chosen], grids), inside


def _joined(
    new: DescribedSet,
    finished: FinishedAtlas,
    pictures: Tensor,
    inside: Tensor,
    pulse: Heartbeat,
    cache: FeatureCache | None,
) -> DescribedSet:
    """The anchors' pictures, described, and the new images as one set."""
    cells, size = int(new.features.shape[-1]), new.frames.size
    anchors = WorkingFrames(pictures, tuple(Letterbox(size, size, size) for _ in pictures))
    mirrored = None
    if new.mirrored_features is not None:
        turned = describe_frames(new.backbone, anchors.mirrored(), pulse, cache)
        mirrored = torch.cat([turned, new.mirrored_features])
    masks = None
    if new.masks is not None:
        saliency = interpolate(finished.saliency[None, None], (cells, cells), mode="bilinear", antialias=True)
        masks = torch.cat([saliency.expand(len(pictures), -1, -1, -1), new.masks])
    return replace(
        new,
        frames=WorkingFrames(torch.cat([pictures, new.frames.pictures]), (*anchors.boxes, *new.frames.boxes)),
        features=torch.cat([describe_frames(new.backbone, anchors, pulse, cache), new.features]),
        mirrored_features=mirrored,
        masks=masks,
        valid=torch.cat([adaptive_avg_pool2d(inside, cells), new.valid]),
    )


def _only(result: CongealingResult, kept: Tensor) -> CongealingResult:
    rows: dict[str, Any] = {name: getattr(result, name)[kept] for name in _per_image()}
    return replace(result, **rows)


def _per_image() -> list[str]:
    shared = {"atlas_features", "atlas_saliency", "curve", "retained"}
    return [field.name for field in fields(CongealingResult) if field.name not in shared]
