"""Everything a user gets out of an alignment."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from torch import Tensor

from workers.imaging.frames import WorkingFrames, inner_slices
from workers.methods.asic.aligned import Training
from workers.methods.asic.canonical_maps import CanonicalMaps
from workers.methods.asic.common import Common
from workers.methods.asic.inputs import DescribedSet
from workers.methods.asic.object_parts import ObjectParts, part_shares
from workers.methods.asic.outcome.evidence import Evidence
from workers.methods.asic.outcome.maps import atlas_form
from workers.methods.asic.outcome.pictures import (
    canonical_parts,
    canonical_rgba,
    learned_rgba,
    part_pictures,
    wheel_pictures,
)
from workers.methods.atlas.agreement import agreement_maps, alignment_scores, confirmed_outliers
from workers.methods.atlas.feature_pictures import feature_pictures
from workers.methods.atlas.pictures import atlas_pictures, congealed_masks, saliency_in_images
from workers.methods.base import MethodResult
from workers.methods.features import Heartbeat


def outcome(
    maps: CanonicalMaps,
    found: Evidence,
    seen: Common,
    parts: ObjectParts,
    described: DescribedSet,
    pulse: Heartbeat,
    *,
    training: Training | None = None,
) -> MethodResult:
    """Maps, pictures and figures of an alignment; all arguments speak of the same images."""
    frames = described.frames
    alignment = alignment_scores(seen.congealed, pulse.beat)
    alone = found.consistency == 0
    outlier = confirmed_outliers(alone, alignment) | alone
    kept = ~outlier
    agreement = agreement_maps(seen.congealed, kept.to(alignment), pulse.beat)
    form = atlas_form(maps, frames, agreement, seen.saliency, pulse.beat)
    of_atlas, of_images = feature_pictures(seen.congealed, kept)
    shares = part_shares(parts, maps)
    pictures = atlas_pictures(frames, maps.grids, seen.saliency, kept, pulse.beat) | of_atlas
    pictures["pictures/canonical_grid"] = canonical_rgba(frames, maps, seen.saliency, kept, pulse.beat)
    pictures["pictures/canonical_parts"] = canonical_parts(shares)
    tensors = {
        "atlas_saliency": _array(seen.saliency),
        "part_shares": _array(shares),
        "part_features": _array(parts.centroids),
        "background_features": _array(parts.background),
        "matches": _array(found.rows),
    }
    if training is not None:
        pictures["pictures/canonical_grid_learned"] = learned_rgba(training)
        tensors["training_curve"] = _array(training.curve)
    masks = {} if described.masks is None else {"congealed_mask": congealed_masks(maps.grids, described.masks)}
    return MethodResult(
        form=form,
        backbone=described.backbone.name,
        backbone_identity=described.backbone.identity,
        scores=_scores(maps, found, seen, agreement, alignment, outlier),
        set_scores={
            "images": len(alignment),
            "outliers": int(outlier.sum()),
            "alignment_score": float(alignment.mean()),
            "consistency": float(found.consistency.mean()),
            "parts": parts.count,
        },
        pictures=pictures,
        tensors=tensors,
        image_pictures={
            "image_saliency": saliency_in_images(seen.saliency, form),
            "canonical_colours": wheel_pictures(frames, maps, seen.foreground),
            "parts": part_pictures(frames, parts),
            **of_images,
            **masks,
        },
        image_tensors={"parts": _label_maps(parts, frames)},
    )


def _scores(
    maps: CanonicalMaps, found: Evidence, seen: Common, agreement: Tensor, alignment: Tensor, outlier: Tensor
) -> list[dict[str, JsonValue]]:
    saliency = seen.congealed.saliency
    agrees = agreement.flatten(1) @ saliency / saliency.sum().clamp(min=1e-6)
    folds = 1 - maps.upright.mean(dim=(1, 2))
    return [
        {
            "mirrored": bool(maps.mirrored[index]),
            "matches": int(found.counts[index]),
            "consistency": float(found.consistency[index]),
            "agreement": float(agrees[index]),
            "alignment_score": float(alignment[index]),
            "fold_over": float(folds[index]),
            "outlier": bool(outlier[index]),
        }
        for index in range(len(alignment))
    ]


def _label_maps(parts: ObjectParts, frames: WorkingFrames) -> list[npt.NDArray[np.float32]]:
    """Labels (h, w) of each scaled picture without its padding."""
    cut = []
    for labels, box in zip(parts.labels, frames.boxes, strict=True):
        rows, columns = inner_slices(box)
        cut.append(_array(labels[rows, columns]))
    return cut


def _array(tensor: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
