"""The baseline: each cell of an image goes to the cell with the most similar feature in every other image."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from alignment.pairwise import PairwiseMaps
from api_schemas.methods.nearest_neighbors import NearestNeighborsParams
from workers.imaging.frames import WorkingFrames, inner_map
from workers.matching.dense import MatchOptions, match_maps
from workers.matching.projection import fit_projection
from workers.matching.soft_argmax import Softness
from workers.methods.base import InputImage, Method, MethodResult
from workers.methods.features import Heartbeat, describe_set
from workers.methods.masks import object_masks
from workers.methods.nearest_neighbors.pairs import MatchedPairs
from workers.run_context import Run

FEATURE_DIM = 96
WHITENING = 0.5
_MOSTLY = 0.5


class NearestNeighbors(Method[NearestNeighborsParams]):
    """Dense maps between all ordered pairs, each on its own."""

    @torch.no_grad()
    def run(self, images: Sequence[InputImage], params: NearestNeighborsParams, run: Run) -> MethodResult:
        """Match `images`; see `Method.run`. Checkpoints hold the pairs that are done; features are computed again."""
        pulse = Heartbeat(run)
        pulse.stage("features")
        backbone = self.backbones.get(params.backbone, params.features)
        frames, features = describe_set(
            backbone,
            images,
            size=params.working_size,
            device=run.device,
            pulse=pulse,
            cache=self.backbones.cache,
        )
        masks = object_masks(self.backbones, params, features, frames, images, seed=run.seed, tick=pulse.beat)
        maps = compressed_maps(features, frames, masks, pulse)
        pulse.stage("matching")
        pairs = MatchedPairs(frames.image_sizes, pulse.resume)
        _match_all(maps, objects(masks, frames), pairs, match_options(params), pulse)
        form = pairs.form()
        return MethodResult(
            form=form, backbone=backbone.name, backbone_identity=backbone.identity, scores=_scores(form)
        )


def match_options(params: NearestNeighborsParams) -> MatchOptions:
    """Translate a job's parameters."""
    softness = {
        "nearest": None,
        "soft_argmax": Softness(temperature=params.temperature),
        "window_soft_argmax": Softness(temperature=params.temperature, window=params.window),
    }
    return MatchOptions(
        softness=softness[params.matcher],
        subpixel=params.subpixel,
        mutual_only=params.mutual_only,
        ratio=params.ratio,
    )


def compressed_maps(features: Tensor, frames: WorkingFrames, masks: Tensor | None, pulse: Heartbeat) -> list[Tensor]:
    """Features (N, C, h, w) to (D, h_i, w_i) of each picture without its padding: their principal components.

    With masks (N, 1, h, w) the components are those of what is inside.
    """
    weights = frames.valid(features.shape[-1])
    if masks is not None:
        weights = weights * masks
    projection = fit_projection(features, weights, dim=FEATURE_DIM, whitening=WHITENING, tick=pulse.beat)
    maps = []
    for index, box in enumerate(frames.boxes):
        maps.append(inner_map(projection(features[index : index + 1])[0], box))
        pulse.beat()
    return maps


def objects(masks: Tensor | None, frames: WorkingFrames) -> list[Tensor | None]:
    """Cells (h_i, w_i) bool of each picture, without its padding, that are mostly inside its mask; None: all."""
    if masks is None:
        return [None] * len(frames.boxes)
    return [inner_map(mask, box)[0] > _MOSTLY for mask, box in zip(masks, frames.boxes, strict=True)]


def _match_all(
    maps: Sequence[Tensor],
    inside: Sequence[Tensor | None],
    pairs: MatchedPairs,
    options: MatchOptions,
    pulse: Heartbeat,
) -> None:
    wanted = list(combinations(range(len(maps)), 2))
    for done, (i, j) in enumerate(wanted):
        if (i, j) not in pairs:
            tick = partial(pulse.step, done, len(wanted), state=pairs.state)
            there, back = match_maps(maps[i], maps[j], options, first_mask=inside[i], second_mask=inside[j], tick=tick)
            pairs.add((i, j), there, back)
            pulse.step(done + 1, len(wanted), state=pairs.state)


def _scores(form: PairwiseMaps) -> list[dict[str, float | bool]]:
    """Mean confidence of the maps from and to each image."""
    scores: list[dict[str, float | bool]] = []
    for index in range(len(form.images)):
        means = [float(array.mean()) for pair, array in form.confidence.items() if index in pair]
        scores.append({"mean_confidence": float(np.mean(means))})
    return scores
