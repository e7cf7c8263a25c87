"""Everything a user gets out of an alignment."""

from __future__ import annotations

from dataclasses import replace

from workers.methods.atlas.agreement import agreement_maps, alignment_scores, confirmed_outliers
from workers.methods.atlas.feature_pictures import feature_pictures
from workers.methods.atlas.pictures import atlas_pictures, congealed_masks, saliency_in_images
from workers.methods.base import MethodResult
from workers.methods.features import Heartbeat
from workers.methods.neural_congealing.inputs import DescribedSet
from workers.methods.neural_congealing.outcome.congealed import congealed_features
from workers.methods.neural_congealing.outcome.figures import image_scores, set_scores
from workers.methods.neural_congealing.outcome.maps import atlas_form, residual_flows
from workers.methods.neural_congealing.result import CongealingResult


def outcome(result: CongealingResult, described: DescribedSet, pulse: Heartbeat) -> MethodResult:
    """Maps, pictures and figures of an alignment.

    Args:
        result: of either mode.
        described: the same images in the same order.
        pulse: shows life.

    Raises:
        ValueError: the described set is not that of the result.
    """
    _check(result, described)
    congealed = congealed_features(result, described, described.describer(pulse), pulse.beat)
    alignment = alignment_scores(congealed, pulse.beat)
    result = replace(result, outlier=confirmed_outliers(result.outlier, alignment))
    kept = ~result.outlier
    agreement = agreement_maps(congealed, kept.to(alignment), pulse.beat)
    form = atlas_form(result, described.frames, agreement, pulse.beat)
    of_atlas, of_images = feature_pictures(congealed, kept)
    pulse.beat()
    masks = {} if described.masks is None else {"congealed_mask": congealed_masks(result.grids, described.masks)}
    return MethodResult(
        form=form,
        backbone=described.backbone.name,
        backbone_identity=described.backbone.identity,
        scores=[
            row | {"alignment_score": score}
            for row, score in zip(image_scores(result, described.frames), alignment.tolist(), strict=True)
        ],
        set_scores=set_scores(result, alignment),
        pictures=atlas_pictures(described.frames, result.grids, result.atlas_saliency, kept, pulse.beat) | of_atlas,
        tensors={
            "atlas_features": result.atlas_features.cpu().numpy(),
            "atlas_saliency": result.atlas_saliency.cpu().numpy(),
            "training_curve": result.curve.cpu().numpy(),
        },
        image_pictures={"image_saliency": saliency_in_images(result.atlas_saliency, form), **of_images, **masks},
        image_tensors={"residual_flow": residual_flows(result)},
    )


def _check(result: CongealingResult, described: DescribedSet) -> None:
    parts = {
        "features": described.features,
        "mirrored features": described.mirrored_features,
        "masks": described.masks,
        "valid area": described.valid,
    }
    for name, part in parts.items():
        if part is not None and len(part) != len(result.grids):
            raise ValueError(f"{name} of {len(part)} images for an alignment of {len(result.grids)}; give them for all")
