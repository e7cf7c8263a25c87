"""Training GeoAware's adapter on an annotated set (arXiv 2311.17034), and what it makes of images kept aside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from pydantic import JsonValue

from api_schemas.methods.geo_aware import supervised_window
from api_schemas.methods.geo_aware_adapter import GeoAwareAdapterParams
from workers.backbones.base import Backbone
from workers.matching.soft_argmax import Softness
from workers.methods.base import InputImage, Method, MethodResult, UnfitImagesError
from workers.methods.features import Heartbeat, require_structure
from workers.methods.geo_aware.choices import as_they_are
from workers.methods.geo_aware.describing import Describer
from workers.methods.geo_aware.inputs import Looks
from workers.methods.geo_aware.outcome import Outcome
from workers.methods.geo_aware.pairs import MatchedPairs, match_pairs, ordered
from workers.methods.geo_aware_adapter.described import DescribedImages, describe_images
from workers.methods.geo_aware_adapter.inputs import Split, split_images
from workers.methods.geo_aware_adapter.network import load_adapter_state
from workers.methods.geo_aware_adapter.options import AdapterOptions
from workers.methods.geo_aware_adapter.report import Examiner, judge, judged
from workers.methods.geo_aware_adapter.settings import options_of
from workers.methods.geo_aware_adapter.stored import (
    CONFIG,
    WEIGHTS,
    AdapterConfig,
    config_document,
    config_of,
    new_adapter,
    read_weights,
)
from workers.methods.geo_aware_adapter.training import CURVE_COLUMNS, TrainedAdapter, train
from workers.run_context import Run

BLENDS = (1.0, 0.75, 0.5, 0.25, 0.0)
"""Shares of the adapter tried on validation images."""


class GeoAwareAdapter(Method[GeoAwareAdapterParams]):
    """Trains on annotated images; the maps of its result are those of images it did not learn from."""

    @torch.no_grad()
    def run(self, images: Sequence[InputImage], params: GeoAwareAdapterParams, run: Run) -> MethodResult:
        """Train on `images`; see `Method.run`. Checkpoints hold the training; features are computed again.

        Raises:
            UnfitImagesError: no two images to learn from show a keypoint in common.
        """
        pulse = Heartbeat(run)
        pulse.stage("features")
        require_structure(images)
        backbone = self.backbones.get(params.backbone, params.features)
        split = split_images(images, test_share=params.test_share, seed=run.seed)
        _tell_split(split, images, pulse)
        described = describe_images(
            images,
            split.train,
            backbone,
            cells=params.grid,
            mirrors=params.mirrors,
            cache=self.backbones.cache,
            device=run.device,
            pulse=pulse,
        )
        softness = Softness(window=supervised_window(params.grid))
        examiner = Examiner(images, softness, pulse, held_out=params.holdout_keypoints)
        options, config = options_of(params), _config(backbone, params)
        describer = Describer(backbone, params.grid, new_adapter(config).to(run.device), config.blend)
        trained = _train(described, describer, split, params, options, run, pulse, examiner)
        pulse.stage("matching")
        describer = _blend(_load(describer, trained), described, split, params, examiner, pulse)
        config = config.model_copy(update={"blend": describer.blend, "training": _told(params, options, trained, run)})
        after = described.adapted(describer, pulse)
        report = {"split": _names(split, images), **examiner.compare(described.plain(pulse), after, split)}
        outcome = _outcome(images, after, split, params, softness, pulse)
        return _result(outcome, trained, backbone, config, report)


def _config(backbone: Backbone, params: GeoAwareAdapterParams) -> AdapterConfig:
    options = options_of(params)
    return config_of(
        backbone,
        blend=1.0 if params.blend is None else params.blend,
        width=options.width,
        hidden=options.hidden,
        groups=options.groups,
        grid=params.grid,
    )


def _train(
    described: DescribedImages,
    describer: Describer,
    split: Split,
    params: GeoAwareAdapterParams,
    options: AdapterOptions,
    run: Run,
    pulse: Heartbeat,
    examiner: Examiner,
) -> TrainedAdapter:
    if not split.train:
        raise UnfitImagesError("no annotated image is left to learn from; give some the split 'train', or more")
    data = described.training_set(held_out=params.holdout_keypoints)
    if not len(data.pairs):
        raise UnfitImagesError("no two images to learn from show a keypoint in common; annotate more of them")
    return train(
        data,
        options,
        seed=run.seed,
        start=read_weights(run.used["start"]) if params.start else None,
        judge=judge(described, describer, split.val, examiner, pulse) if len(split.val) > 1 else None,
        hooks=pulse,
    )


def _load(describer: Describer, trained: TrainedAdapter) -> Describer:
    assert describer.adapter is not None
    load_adapter_state(describer.adapter, trained.weights)
    describer.adapter.eval()
    return describer


def _blend(
    describer: Describer,
    described: DescribedImages,
    split: Split,
    params: GeoAwareAdapterParams,
    examiner: Examiner,
    pulse: Heartbeat,
) -> Describer:
    """The describer with the share of the adapter that suits validation images best, if one is to be chosen."""
    if params.blend is not None or len(split.val) < 2:
        return describer
    tried = [replace(describer, blend=share) for share in BLENDS]
    scores = [judged(examiner.report(described.adapted(each, pulse), split.val)) for each in tried]
    best = max(range(len(BLENDS)), key=lambda index: scores[index])
    pulse.log(f"On the validation images similarities are best with a share of {BLENDS[best]:g} of the adapter.")
    return tried[best]


def _outcome(
    images: Sequence[InputImage],
    looks: Looks,
    split: Split,
    params: GeoAwareAdapterParams,
    softness: Softness,
    pulse: Heartbeat,
) -> Outcome:
    """Maps between images that were not learned from; between those that were where there are none."""
    shown = (split.test if len(split.test) > 1 else split.train)[: params.max_maps]
    pairs = ordered([(i, j) for i in shown for j in shown if i != j], len(images))
    picked = as_they_are(pairs)
    done = MatchedPairs(looks.frames.image_sizes, is_kept=False)
    match_pairs(looks, picked, softness, done, pulse)
    return Outcome(images, looks.variants, picked, None, done, {})


def _result(
    outcome: Outcome,
    trained: TrainedAdapter,
    backbone: Backbone,
    config: AdapterConfig,
    report: dict[str, JsonValue],
) -> MethodResult:
    return MethodResult(
        form=outcome.form(),
        backbone=backbone.name,
        backbone_identity=backbone.identity,
        scores=outcome.scores(),
        tensors={"training_curve": trained.curve.numpy()},
        documents={**outcome.documents(), "pck_report": report, CONFIG: config_document(config)},
        bundles={WEIGHTS: {name: tensor.numpy() for name, tensor in trained.weights.items()}},
    )


def _told(
    params: GeoAwareAdapterParams, options: AdapterOptions, trained: TrainedAdapter, run: Run
) -> dict[str, JsonValue]:
    return {
        "options": {**vars(options)},
        "held_out_keypoints": [*params.holdout_keypoints],
        "seed": run.seed,
        "steps": trained.steps,
        "best_step": trained.best_step,
        "curve_columns": [*CURVE_COLUMNS],
    }


def _tell_split(split: Split, images: Sequence[InputImage], pulse: Heartbeat) -> None:
    pulse.log(f"Learning from {len(split.train)} images; {len(split.val)} to judge by, {len(split.test)} to test.")
    bare = [image.name for image in images if image.annotation is None or image.annotation.schema is None]
    if bare:
        pulse.log(f"Without keypoints, and so without use here: {', '.join(bare)}.")


def _names(split: Split, images: Sequence[InputImage]) -> JsonValue:
    return {name: [images[index].name for index in chosen] for name, chosen in vars(split).items()}
