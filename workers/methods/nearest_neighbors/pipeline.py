"""The baseline: each cell of an image goes to the cell with the most similar feature in every other image."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize
from api_schemas.methods.nearest_neighbors import NearestNeighborsParams
from workers.imaging.frames import WorkingFrames, inner_map
from workers.matching.dense import DenseMap, match_maps
from workers.matching.projection import fit_projection
from workers.methods.base import InputImage, Method, MethodResult
from workers.methods.features import Heartbeat, describe_set
from workers.run_context import Run

FEATURE_DIM = 96
WHITENING = 0.5

FloatMap = npt.NDArray[np.float32]
Pair = tuple[int, int]


class NearestNeighbors(Method[NearestNeighborsParams]):
    """Dense maps between all ordered pairs, each on its own."""

    @torch.no_grad()
    def run(self, images: Sequence[InputImage], params: NearestNeighborsParams, run: Run) -> MethodResult:
        """Match `images`; see `Method.run`. Nothing is checkpointed: a lost run begins afresh."""
        pulse = Heartbeat(run)
        pulse.stage("features")
        backbone = self.backbones.get(params.backbone)
        frames, features = describe_set(backbone, images, size=params.working_size, device=run.device, pulse=pulse)
        maps = compressed_maps(features, frames, pulse)
        pulse.stage("matching")
        form = _match_all(maps, frames.image_sizes, pulse, subpixel=params.subpixel)
        return MethodResult(form=form, backbone=backbone.name, scores=_scores(form))


def compressed_maps(features: Tensor, frames: WorkingFrames, pulse: Heartbeat) -> list[Tensor]:
    """Features (N, C, h, w) to (D, h_i, w_i) of each picture without its padding: their principal components."""
    valid = frames.valid(features.shape[-1])
    projection = fit_projection(features, valid, dim=FEATURE_DIM, whitening=WHITENING)
    maps = []
    for index, box in enumerate(frames.boxes):
        maps.append(inner_map(projection(features[index : index + 1])[0], box))
        pulse.beat()
    return maps


def _match_all(
    maps: Sequence[Tensor], sizes: tuple[ImageSize, ...], pulse: Heartbeat, *, subpixel: bool
) -> PairwiseMaps:
    pairs = list(combinations(range(len(maps)), 2))
    places: dict[Pair, FloatMap] = {}
    trust: dict[Pair, npt.NDArray[np.floating]] = {}
    for done, (i, j) in enumerate(pairs, start=1):
        there, back = match_maps(maps[i], maps[j], subpixel=subpixel, tick=pulse.beat)
        places[i, j], trust[i, j] = _in_pixels(there, sizes[j])
        places[j, i], trust[j, i] = _in_pixels(back, sizes[i])
        pulse.step(done, len(pairs))
    return PairwiseMaps(images=sizes, maps=places, confidence=trust)


def _in_pixels(dense: DenseMap, size: ImageSize) -> tuple[FloatMap, FloatMap]:
    points = dense.points * dense.points.new_tensor([size.width, size.height])
    return points.cpu().numpy(), dense.confidence.cpu().numpy()


def _scores(form: PairwiseMaps) -> list[dict[str, float | bool]]:
    """Mean confidence of the maps from and to each image."""
    scores: list[dict[str, float | bool]] = []
    for index in range(len(form.images)):
        means = [float(array.mean()) for pair, array in form.confidence.items() if index in pair]
        scores.append({"mean_confidence": float(np.mean(means))})
    return scores
