"""Neural Congealing (arXiv 2302.03956), from images to an atlas in uploaded pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from api_schemas.methods.neural_congealing import NeuralCongealingParams
from workers.imaging.frames import WorkingFrames, letterboxed
from workers.methods.atlas.extended import with_base_kept
from workers.methods.base import BaseResult, ExtendableMethod, InputImage, MethodResult
from workers.methods.features import Heartbeat, describe_frames
from workers.methods.neural_congealing.direct import align
from workers.methods.neural_congealing.extension import align_new, finished_atlas, with_new
from workers.methods.neural_congealing.inputs import DescribedSet, described_set, searches
from workers.methods.neural_congealing.network.options import NetworkOptions
from workers.methods.neural_congealing.network.training import train
from workers.methods.neural_congealing.options import DirectOptions
from workers.methods.neural_congealing.outcome.assembly import outcome
from workers.methods.neural_congealing.result import CongealingResult
from workers.run_context import Run

_OFFICIAL_CELLS = 128


class NeuralCongealing(ExtendableMethod[NeuralCongealingParams]):
    """Aligns all images to one atlas by a similarity and a smooth flow each."""

    @torch.no_grad()
    def run(self, images: Sequence[InputImage], params: NeuralCongealingParams, run: Run) -> MethodResult:
        """Align `images`; see `Method.run`. Checkpoints hold the optimisation; features are computed again."""
        pulse = Heartbeat(run)
        pulse.stage("features")
        described = described_set(self.backbones, images, params, run, pulse)
        align_set = _by_networks if params.mode == "network" else _directly
        return outcome(align_set(described, params, run, pulse), described, pulse)

    @torch.no_grad()
    def extend(
        self, base: BaseResult, images: Sequence[InputImage], params: NeuralCongealingParams, run: Run
    ) -> MethodResult:
        """Add images to a finished atlas; see `ExtendableMethod.extend`. Both modes add by direct optimisation."""
        pulse = Heartbeat(run)
        pulse.stage("features")
        count = len(base.form.images)
        # Masks of the new images count where there are any, whatever the finished ones had.
        adding = params.model_copy(update={"mode": "direct", "saliency": "auto"})
        new = described_set(self.backbones, images[count:], adding, run, pulse)
        frames = letterboxed([image.rgb for image in images[:count]], params.working_size, run.device)
        finished = finished_atlas(base, frames)
        options = direct_options(params, search=searches(adding, new.backbone))
        aligned = align_new(finished, new, options, seed=run.seed, pulse=pulse, cache=self.backbones.cache)
        everything = replace(
            new,
            frames=_joined(frames, new.frames),
            features=torch.cat([describe_frames(new.backbone, frames, pulse, self.backbones.cache), new.features]),
            mirrored_features=None,
            masks=None,
            valid=torch.cat([frames.valid(new.valid.shape[-1]), new.valid]),
        )
        return with_base_kept(base, outcome(with_new(finished, aligned), everything, pulse))


def direct_options(params: NeuralCongealingParams, *, search: bool) -> DirectOptions:
    """Translate a job's parameters."""
    return DirectOptions(
        atlas_size=params.atlas_size,
        feature_dim=params.feature_dim,
        flips=params.flips == "auto",
        search=search,
        similarity_steps=params.similarity_steps,
        flow_steps=params.flow_steps,
        smoothness=params.smoothness,
    )


def network_options(params: NeuralCongealingParams) -> NetworkOptions:
    """Translate a job's parameters. The networks see pictures of twice the flows' cells a side."""
    flow_size = 64 if params.atlas_size < _OFFICIAL_CELLS else _OFFICIAL_CELLS
    return NetworkOptions(
        image_size=2 * flow_size,
        flow_size=flow_size,
        atlas_size=params.atlas_size,
        width=params.network.width,
        preset=params.network.preset,
        compat=params.network.compat,
        bootstrap_epochs=params.network.bootstrap_epochs,
        flow_epochs=params.network.flow_epochs,
        batch=params.network.batch,
        flips=params.flips == "auto",
        reference=params.reference_image,
    )


def _directly(described: DescribedSet, params: NeuralCongealingParams, run: Run, pulse: Heartbeat) -> CongealingResult:
    anchors = None
    if params.reference_image is not None:
        anchors = torch.arange(len(described.features), device=run.device) == params.reference_image
    return align(
        described.features,
        described.mirrored_features,
        described.masks,
        described.valid,
        direct_options(params, search=searches(params, described.backbone)),
        seed=run.seed,
        hooks=pulse,
        describe=described.describer(pulse),
        anchors=anchors,
    )


def _by_networks(
    described: DescribedSet, params: NeuralCongealingParams, run: Run, pulse: Heartbeat
) -> CongealingResult:
    return train(
        described.frames.pictures,
        described.features,
        torch.ones_like(described.valid) if described.masks is None else described.masks,
        described.valid,
        network_options(params),
        mirrored_features=described.mirrored_features,
        seed=run.seed,
        hooks=pulse,
    )


def _joined(first: WorkingFrames, second: WorkingFrames) -> WorkingFrames:
    return WorkingFrames(torch.cat([first.pictures, second.pictures]), first.boxes + second.boxes)
