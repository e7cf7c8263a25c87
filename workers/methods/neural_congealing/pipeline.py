"""Neural Congealing (arXiv 2302.03956), direct mode, from images to an atlas in uploaded pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from api_schemas.methods.neural_congealing import NeuralCongealingParams
from workers.backbones.base import Backbone
from workers.geometry.coordinates import identity_grid, sample
from workers.geometry.similarity import transform
from workers.imaging.frames import WorkingFrames
from workers.methods.base import InputImage, Method, MethodResult
from workers.methods.features import Heartbeat, describe, describe_set
from workers.methods.masks import object_masks
from workers.methods.neural_congealing.direct import DirectOptions, align
from workers.methods.neural_congealing.outcome import atlas_form, atlas_pictures, image_agreement, image_scores
from workers.run_context import Run


class NeuralCongealing(Method[NeuralCongealingParams]):
    """Aligns all images to one atlas by a similarity and a smooth flow each."""

    @torch.no_grad()
    def run(self, images: Sequence[InputImage], params: NeuralCongealingParams, run: Run) -> MethodResult:
        """Align `images`; see `Method.run`. Checkpoints hold the optimisation; features are computed again."""
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
        cells = features.shape[-1]
        result = align(
            features,
            None,
            object_masks(self.backbones, params, features, frames, images, seed=run.seed, tick=pulse.beat),
            frames.valid(cells),
            direct_options(params),
            seed=run.seed,
            hooks=pulse,
            describe=ViewDescriber(backbone, frames, pulse, cells=cells),
        )
        agreement = image_agreement(features, result.grids, pulse.beat)
        return MethodResult(
            form=atlas_form(result, frames, agreement, pulse.beat),
            backbone=backbone.name,
            backbone_identity=backbone.identity,
            scores=image_scores(result, frames),
            pictures=atlas_pictures(result, frames, pulse.beat),
            tensors={
                "atlas_features": result.atlas_features.cpu().numpy(),
                "training_curve": result.curve.cpu().numpy(),
            },
        )


def direct_options(params: NeuralCongealingParams) -> DirectOptions:
    """Translate a job's parameters."""
    return DirectOptions(
        atlas_size=params.atlas_size,
        feature_dim=params.feature_dim,
        flips=params.flips == "auto",
        search=True,
        similarity_steps=params.similarity_steps,
        flow_steps=params.flow_steps,
        smoothness=params.smoothness,
    )


class ViewDescriber:
    """Describes pictures seen through similarities; see `workers.methods.neural_congealing.views.Describer`."""

    def __init__(self, backbone: Backbone, frames: WorkingFrames, pulse: Heartbeat, *, cells: int) -> None:
        """Look at `frames`, whose features have `cells` a side, with `backbone`; show life through `pulse`."""
        self._backbone, self._pulse, self._cells = backbone, pulse, cells
        self._pictures = {cells: frames.pictures}

    def __call__(self, images: Sequence[int], matrices: Tensor, mirrored: Sequence[bool], *, cells: int) -> Tensor:
        """Features (M, C, cells, cells) of M views; with fewer cells, of pictures that are smaller by as much."""
        pictures = self._resized(cells)
        views = [
            self._view(pictures[image : image + 1], matrix, turned=turned, cells=cells)
            for image, matrix, turned in zip(images, matrices, mirrored, strict=True)
        ]
        return torch.cat(views)

    def _view(self, picture: Tensor, matrix: Tensor, *, turned: bool, cells: int) -> Tensor:
        picture = picture.flip(-1) if turned else picture
        cell_centres = identity_grid(*picture.shape[-2:], device=picture.device)
        seen = sample(picture, transform(matrix.unsqueeze(0), cell_centres.unsqueeze(0)))
        features = describe(self._backbone, seen, cells=cells)
        self._pulse.beat()
        return features

    def _resized(self, cells: int) -> Tensor:
        if cells not in self._pictures:
            full = self._pictures[self._cells]
            side = round(full.shape[-1] * cells / self._cells)
            self._pictures[cells] = interpolate(full, (side, side), mode="bilinear", antialias=True)
        return self._pictures[cells]
