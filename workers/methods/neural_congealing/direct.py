"""Neural Congealing by direct optimisation: one similarity and one smooth flow per image, a closed-form atlas.

The idea and the losses follow Neural Congealing (arXiv 2302.03956); in place of a network's weights the warps'
own parameters are optimised, from an alignment found by matching.

Entry: `align`. Frames: everything is in normalised [-1, 1] units of the square working frame, `align_corners=False`,
(x, y).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.geometry.coordinates import sample
from workers.geometry.flows import dense_flow
from workers.geometry.inversion import fold_fraction
from workers.geometry.similarity import similarity_parameters
from workers.methods.hooks import Hooks, Quiet
from workers.methods.neural_congealing.initialisation import initialise
from workers.methods.neural_congealing.model import State, atlas_to_picture, dense_grid, initial_state
from workers.methods.neural_congealing.options import DirectOptions
from workers.methods.neural_congealing.result import CongealingResult
from workers.methods.neural_congealing.search import search_alignment
from workers.methods.neural_congealing.stages import (
    FLOW_CONTROLS,
    REFRESH_STEPS,
    Sampled,
    Stage,
    StageProblem,
    agreement_scores,
    atlas_saliency,
    outliers,
    planned_stages,
    prepare,
    refresh_atlas,
    view_frame,
)
from workers.methods.neural_congealing.views import Describer, ImageViews


@torch.no_grad()
def align(
    features: Tensor,
    mirrored_features: Tensor | None,
    masks: Tensor | None,
    valid: Tensor,
    options: DirectOptions,
    *,
    seed: int = 0,
    hooks: Hooks | None = None,
    describe: Describer | None = None,
    anchors: Tensor | None = None,
) -> CongealingResult:
    """Align N pictures of one kind of thing.

    Args:
        features: (N, C, h, w) of the pictures as they are, letterboxed into a square frame; h = w.
        mirrored_features: the same of the mirrored pictures, or None (then taken from `describe` if given).
        masks: (N, 1, h, w) in [0, 1], where the object is; None finds what the pictures have in common.
        valid: (N, 1, h, w) in [0, 1], 0 on padding.
        options: settings.
        seed: of all random choices.
        hooks: progress, checkpoints, cancellation. A run resumed from any state ends bit by bit as undisturbed.
        describe: describes pictures seen through similarities. Features that change when a picture is turned or
            zoomed need it; with it, features are computed anew on the aligned pictures before each stage.
        anchors: (N,) bool, pictures that are the atlas already: they stay as they are, and the others are aligned to
            them; None lets all pictures form the atlas together.

    Raises:
        ValueError: shapes that do not fit, fewer than two images, or a checkpoint of something else.
        NothingInCommonError: no two images match each other better than chance.
    """
    _check_inputs(features, mirrored_features, masks, valid, options, describe, anchors)
    hooks = hooks or Quiet()
    views = ImageViews(
        features,
        mirrored_features,
        masks,
        valid,
        describe=describe,
        dim=options.feature_dim,
        whitening=options.whitening,
    )
    if hooks.resume is not None:
        state = State.from_tensors(hooks.resume, features.device)
    else:
        hooks.stage("matches")
        state = _first_state(views, options, seed, hooks, anchors)
    stages = planned_stages(options, features.shape[-1])
    for index in range(int(state.stage), len(stages)):
        _run_stage(state, stages, index, views, options, hooks)
    return _result(state, views, options)


def _first_state(views: ImageViews, options: DirectOptions, seed: int, hooks: Hooks, anchors: Tensor | None) -> State:
    if options.search or (options.search is None and views.describe is not None):
        start = search_alignment(views, flips=options.flips, tick=hooks.step, anchors=anchors, seed=seed)
    else:
        plain = torch.zeros(views.count, dtype=torch.bool)
        turned = views.oriented(~plain) if options.flips and views.can_mirror else None
        generator = torch.Generator().manual_seed(seed)
        start = initialise(views.oriented(plain), turned, generator=generator, tick=hooks.step, anchors=anchors)
    trust = torch.where(start.belongs, start.trust, 0.0)
    return initial_state(start.matrices, start.mirrored, trust, controls=FLOW_CONTROLS, anchored=anchors)


def _run_stage(
    state: State, stages: list[Stage], index: int, views: ImageViews, options: DirectOptions, hooks: Hooks
) -> None:
    """Run a stage from `state.step`; the loss of the last look is the last of the curve."""
    stage = stages[index]
    if index == 0 or stages[index - 1].name != stage.name or int(state.step) > 0:
        hooks.stage(stage.name)
    frame = prepare(state, stage, views) if int(state.step) == 0 else view_frame(state, views)
    problem = StageProblem(stage, options, frame, has_masks=views.has_masks)
    done, total = _progress_span(stages, index)
    while int(state.step) < stage.steps:
        loss = problem.step(state)
        state.step = state.step + 1
        if _look(state, problem, loss):
            break
        hooks.step(done + int(state.step), total, state=state.tensors, loss=loss)
    refresh_atlas(state, stage, frame)
    problem.accept(state)
    state.stage, state.step = state.stage + 1, torch.zeros_like(state.step)


def _look(state: State, problem: StageProblem, loss: float) -> bool:
    """Every 25 steps: note the loss, refresh the atlas, and say whether the stage has settled."""
    if int(state.step) % REFRESH_STEPS:
        return False
    row = state.curve.new_tensor([[float(state.stage), float(state.step), loss]])
    earlier = state.curve[state.curve[:, 0] == float(state.stage)]
    settled = len(earlier) > 0 and problem.settled(state, float(earlier[-1, 2]), loss)
    state.curve = torch.cat([state.curve, row])
    refresh_atlas(state, problem.stage, problem.frame)
    return settled


def _progress_span(stages: list[Stage], index: int) -> tuple[int, int]:
    """Steps done before this stage and in all, among the stages of the same name."""
    alike = [k for k, stage in enumerate(stages) if stage.name == stages[index].name]
    return sum(stages[k].steps for k in alike if k < index), sum(stages[k].steps for k in alike)


def _result(state: State, views: ImageViews, options: DirectOptions) -> CongealingResult:
    size = options.atlas_size
    matrices = atlas_to_picture(state)
    grids = dense_grid(state, size)
    frame = views.oriented(state.mirrored)
    features = normalize(sample(frame.features, grids), dim=1).flatten(2)
    sampled = Sampled(
        features,
        sample(frame.masks, grids, padding="zeros").flatten(1),
        sample(frame.valid, grids, padding="zeros").flatten(1),
    )
    saliency = atlas_saliency(sampled, state.weights, size, has_masks=views.has_masks)
    scores = agreement_scores(sampled, state.weights, saliency)
    weights = state.atlas_weights.unsqueeze(1) * sampled.valid * sampled.masks
    atlas = normalize(torch.einsum("ndp,np->dp", features, weights), dim=0)
    theta, scale, tx, ty = similarity_parameters(matrices).unbind(-1)
    mirror = torch.where(state.mirrored, -1.0, 1.0)
    picture_grids = torch.stack([grids[..., 0] * mirror.view(-1, 1, 1), grids[..., 1]], dim=-1)
    return CongealingResult(
        mirrored=state.mirrored,
        theta=theta,
        scale=scale,
        tx=tx,
        ty=ty,
        matrices=matrices,
        flows=dense_flow(state.controls, size),
        grids=picture_grids,
        atlas_features=atlas.view(-1, size, size),
        atlas_saliency=saliency.view(size, size),
        scores=scores,
        outlier=outliers(scores, state.trust),
        fold=fold_fraction(grids, saliency.view(size, size)),
        curve=state.curve,
        retained=views.projection.retained,
    )


def _check_inputs(
    features: Tensor,
    mirrored_features: Tensor | None,
    masks: Tensor | None,
    valid: Tensor,
    options: DirectOptions,
    describe: Describer | None,
    anchors: Tensor | None,
) -> None:
    if features.dim() != 4 or features.shape[2] != features.shape[3]:
        raise ValueError(f"features are {tuple(features.shape)}; use (N, C, h, h)")
    if len(features) < 2:
        raise ValueError(f"{len(features)} image given; an alignment needs at least 2")
    if mirrored_features is not None and mirrored_features.shape != features.shape:
        raise ValueError(f"mirrored features are {tuple(mirrored_features.shape)}; use {tuple(features.shape)}")
    expected = (len(features), 1, *features.shape[2:])
    for name, maps in (("masks", masks), ("valid", valid)):
        if maps is not None and tuple(maps.shape) != expected:
            raise ValueError(f"{name} are {tuple(maps.shape)}; use {expected}")
    if anchors is not None and (anchors.shape != (len(features),) or not 0 < int(anchors.sum()) < len(features)):
        raise ValueError(f"anchors are {anchors.tolist()}; use (N,) flags, some of them set but not all")
    if options.search and describe is None:
        raise ValueError("search needs a describer; pass `describe`, or set search=False")
