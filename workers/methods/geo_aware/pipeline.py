"""GeoAware: dense maps between pairs that tell left from right as far as the features do (arXiv 2311.17034)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from api_schemas.methods.geo_aware import GeoAwareParams
from workers.matching.soft_argmax import Softness
from workers.methods.base import InputImage, Method, MethodResult
from workers.methods.features import Heartbeat
from workers.methods.geo_aware.choices import as_they_are, choices, measure
from workers.methods.geo_aware.describing import Describer
from workers.methods.geo_aware.inputs import Looks, look_at
from workers.methods.geo_aware.keypoints import carry_keypoints
from workers.methods.geo_aware.outcome import Outcome
from workers.methods.geo_aware.pairs import MatchedPairs, match_pairs, ordered
from workers.methods.geo_aware_adapter.stored import read_adapter
from workers.methods.masks import object_masks
from workers.run_context import Run


class GeoAware(Method[GeoAwareParams]):
    """Every pair on its own, the source in the variant that suits the target best."""

    @torch.no_grad()
    def run(self, images: Sequence[InputImage], params: GeoAwareParams, run: Run) -> MethodResult:
        """Match `images`; see `Method.run`. Checkpoints hold the pairs that are done; features are computed again."""
        pulse = Heartbeat(run)
        pulse.stage("features")
        describer = self._describer(params, run)
        names = params.variants_with(describer.backbone.name)
        looks = look_at(images, names, describer, device=run.device, pulse=pulse)
        masks = object_masks(
            self.backbones, params, looks.features[0], looks.frames, images, seed=run.seed, tick=pulse.beat
        )
        looks = looks.masked(masks)
        pulse.stage("variants")
        asked = ordered(params.pairs, len(images))
        distances = measure(looks, params.imd, asked, pulse) if _has_choice(looks, images) else None
        picked = as_they_are(asked) if distances is None else choices(distances, looks, asked, params.min_relative_gain)
        pulse.stage("matching")
        done = MatchedPairs(looks.frames.image_sizes)
        done.restore(pulse.resume or {})
        softness = _softness(params)
        match_pairs(looks, picked, softness, done, pulse)
        carried = carry_keypoints(looks, images, picked, softness, subcell=params.subcell, pulse=pulse)
        outcome = Outcome(images, looks.variants, picked, distances, done, carried)
        return _result(outcome, params, describer)

    def _describer(self, params: GeoAwareParams, run: Run) -> Describer:
        backbone, cache = self.backbones.get(params.backbone, params.features), self.backbones.cache
        if params.adapter is None:
            return Describer(backbone, params.grid, cache=cache)
        adapter, config = read_adapter(run.used["adapter"], backbone.block_channels)
        if config.backbone_identity != backbone.identity:
            run.log(
                f"The adapter was trained on features of {config.backbone_identity}; these are of {backbone.identity}."
            )
        return Describer(backbone, params.grid, adapter.to(run.device), config.blend, cache)


def _has_choice(looks: Looks, images: Sequence[InputImage]) -> bool:
    """Whether distances are wanted: to choose a variant, or to tell poses."""
    return len(looks.variants) > 1 or any(image.annotation and image.annotation.pose for image in images)


def _softness(params: GeoAwareParams) -> Softness:
    return Softness(temperature=params.temperature, window=params.resolved_window, window_mode=params.window_mode)


def _result(outcome: Outcome, params: GeoAwareParams, describer: Describer) -> MethodResult:
    mirrors = any(choice.is_mirrored for choice in outcome.picked.values())
    evidence = {"match_evidence": outcome.evidence()} if params.evidence else {}
    turned = {"mirrored_maps": outcome.mirrored_maps()} if mirrors else {}
    return MethodResult(
        form=outcome.form(),
        backbone=describer.backbone.name,
        backbone_identity=describer.backbone.identity,
        scores=outcome.scores(),
        tensors={} if outcome.distances is None else {"imd_matrix": outcome.distances.numpy()},
        documents=outcome.documents(),
        image_tensors=evidence | turned,
    )
