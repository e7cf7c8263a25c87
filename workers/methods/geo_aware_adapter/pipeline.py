"""Training GeoAware's adapter on an annotated set (arXiv 2311.17034), and what it makes of images kept aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from pydantic import JsonValue
from torch import Tensor

from api_schemas.methods.geo_aware import SUPERVISED_WINDOW
from api_schemas.methods.geo_aware_adapter import GeoAwareAdapterParams
from workers.backbones.base import Backbone
from workers.imaging.frames import WorkingFrames, letterboxed
from workers.matching.soft_argmax import Softness
from workers.methods.base import InputImage, Method, MethodResult, UnfitImagesError
from workers.methods.features import Heartbeat, require_structure
from workers.methods.geo_aware.choices import as_they_are
from workers.methods.geo_aware.describing import Describer
from workers.methods.geo_aware.inputs import Looks
from workers.methods.geo_aware.outcome import Outcome
from workers.methods.geo_aware.pairs import MatchedPairs, match_pairs, ordered
from workers.methods.geo_aware.variants import VARIANTS
from workers.methods.geo_aware_adapter.inputs import Blocks, Split, blocks_of, split_images, training_set
from workers.methods.geo_aware_adapter.network import Adapter, load_adapter_state
from workers.methods.geo_aware_adapter.options import AdapterOptions
from workers.methods.geo_aware_adapter.report import Examiner
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
from workers.methods.geo_aware_adapter.training import CURVE_COLUMNS, Judge, TrainedAdapter, train
from workers.run_context import Run

_SOFTNESS = Softness(window=SUPERVISED_WINDOW)
_MOSTLY = 0.5


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
        described = self._described(images, split, backbone, params, run, pulse)
        options = options_of(params)
        config = config_of(
            backbone, width=options.width, hidden=options.hidden, groups=options.groups, grid=params.grid
        )
        examiner = Examiner(images, _SOFTNESS, pulse, held_out=params.holdout_keypoints)
        trained = self._trained(images, described, split, params, options, run, pulse, examiner)
        adapter = _loaded(config, trained.weights, run.device)
        pulse.stage("matching")
        before = described.looks(Describer(backbone, params.grid, None, self.backbones.cache), pulse)
        after = described.adapted(adapter, pulse)
        report = {"split": _names(split, images), **examiner.compare(before, after, split)}
        outcome = _outcome(images, after, split, params, pulse)
        return _result(outcome, trained, backbone, _document(config, params, options, trained, run), report)

    def _described(
        self,
        images: Sequence[InputImage],
        split: Split,
        backbone: Backbone,
        params: GeoAwareAdapterParams,
        run: Run,
        pulse: Heartbeat,
    ) -> _Described:
        frames = letterboxed([image.rgb for image in images], params.grid * backbone.stride, run.device)
        mirrors = params.training.mirrors
        total = len(images) + (len(split.train) if mirrors else 0)
        cache = self.backbones.cache
        blocks = blocks_of(backbone, frames.pictures, cache, pulse, done=0, total=total)
        mirrored = None
        if mirrors:
            turned = frames.pictures[split.train].flip(-1)
            mirrored = blocks_of(backbone, turned, cache, pulse, done=len(images), total=total)
        return _Described(frames, blocks, mirrored, params.grid)

    def _trained(
        self,
        images: Sequence[InputImage],
        described: _Described,
        split: Split,
        params: GeoAwareAdapterParams,
        options: AdapterOptions,
        run: Run,
        pulse: Heartbeat,
        examiner: Examiner,
    ) -> TrainedAdapter:
        chosen = [images[index] for index in split.train]
        if not chosen:
            raise UnfitImagesError("no annotated image is left to learn from; give some the split 'train', or more")
        data = training_set(
            chosen,
            described.frames.of(split.train),
            tuple(block[split.train] for block in described.blocks),
            described.mirrored,
            cells=params.grid,
            held_out=params.holdout_keypoints,
            device=run.device,
        )
        if not len(data.pairs):
            raise UnfitImagesError("no two images to learn from show a keypoint in common; annotate more of them")
        start = read_weights(run.used["start"]) if params.start else None
        judge = _judge(described, split, examiner, pulse) if len(split.val) > 1 else None
        return train(data, options, seed=run.seed, start=start, judge=judge, hooks=pulse)


@dataclass(frozen=True)
class _Described:
    """All images letterboxed, their blocks, and those of the mirrored training images."""

    frames: WorkingFrames
    blocks: Blocks
    mirrored: Blocks | None
    cells: int

    def looks(self, describer: Describer, pulse: Heartbeat) -> Looks:
        """What a describer says of all images."""
        features = []
        for picture in self.frames.pictures:
            features.append(describer(picture.unsqueeze(0), tick=pulse.beat)[0])
        return self._as_looks(torch.cat(features))

    def adapted(self, adapter: Adapter, pulse: Heartbeat) -> Looks:
        """What an adapter says of all images."""
        features = []
        for index in range(len(self.frames.pictures)):
            blocks = [block[index : index + 1].to(self.frames.pictures.device) for block in self.blocks]
            features.append(adapter.describe(blocks, self.cells))
            pulse.beat()
        return self._as_looks(torch.cat(features))

    def _as_looks(self, features: Tensor) -> Looks:
        whole = self.frames.valid(self.cells)[:, 0] > _MOSTLY
        return Looks(self.frames, (VARIANTS["id"],), (features,), (whole,))


def _judge(described: _Described, split: Split, examiner: Examiner, pulse: Heartbeat) -> Judge:
    """PCK@0.1 on the validation images: of the look-alike keypoints, or of all where there are none."""

    @torch.no_grad()
    def score(adapter: Adapter) -> float:
        found = examiner.report(described.adapted(adapter, pulse), split.val)
        scores = found.geometry_aware if found.geometry_aware.points else found.standard
        share = scores.scores[0].per_point
        return float("nan") if share is None else share

    return score


def _loaded(config: AdapterConfig, weights: Mapping[str, Tensor], device: torch.device) -> Adapter:
    adapter = new_adapter(config)
    load_adapter_state(adapter, weights)
    return adapter.eval().to(device)


def _outcome(
    images: Sequence[InputImage], looks: Looks, split: Split, params: GeoAwareAdapterParams, pulse: Heartbeat
) -> Outcome:
    """Maps between images that were not learned from; between those that were where there are none."""
    shown = (split.test if len(split.test) > 1 else split.train)[: params.max_maps]
    pairs = ordered([(i, j) for i in shown for j in shown if i != j], len(images))
    picked = as_they_are(pairs)
    done = MatchedPairs(looks.frames.image_sizes, is_kept=False)
    match_pairs(looks, picked, _SOFTNESS, done, pulse)
    return Outcome(images, looks.variants, picked, None, done, {})


def _result(
    outcome: Outcome,
    trained: TrainedAdapter,
    backbone: Backbone,
    config: JsonValue,
    report: dict[str, JsonValue],
) -> MethodResult:
    return MethodResult(
        form=outcome.form(),
        backbone=backbone.name,
        backbone_identity=backbone.identity,
        scores=outcome.scores(),
        tensors={"training_curve": trained.curve.numpy()},
        documents={**outcome.documents(), "pck_report": report, CONFIG: config},
        bundles={WEIGHTS: {name: tensor.numpy() for name, tensor in trained.weights.items()}},
    )


def _document(
    config: AdapterConfig, params: GeoAwareAdapterParams, options: AdapterOptions, trained: TrainedAdapter, run: Run
) -> JsonValue:
    training: dict[str, JsonValue] = {
        "options": {**vars(options)},
        "held_out_keypoints": [*params.holdout_keypoints],
        "seed": run.seed,
        "steps": trained.steps,
        "best_step": trained.best_step,
        "curve_columns": [*CURVE_COLUMNS],
    }
    return config_document(config.model_copy(update={"training": training}))


def _tell_split(split: Split, images: Sequence[InputImage], pulse: Heartbeat) -> None:
    pulse.log(f"Learning from {len(split.train)} images; {len(split.val)} to judge by, {len(split.test)} to test.")
    bare = [image.name for image in images if image.annotation is None or image.annotation.schema is None]
    if bare:
        pulse.log(f"Without keypoints, and so without use here: {', '.join(bare)}.")


def _names(split: Split, images: Sequence[InputImage]) -> JsonValue:
    return {name: [images[index].name for index in chosen] for name, chosen in vars(split).items()}
