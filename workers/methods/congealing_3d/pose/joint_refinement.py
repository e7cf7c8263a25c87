"""Poses at which silhouettes and features agree together."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.geometry.cameras import Cameras, joined
from workers.methods.congealing_3d.pose.feature_refinement import (
    LEVELS,
    FeatureMatching,
    Level,
    MatchingOptions,
    Targets,
    feature_distances,
)
from workers.methods.congealing_3d.pose.feature_refinement import poses_at_once as matched_at_once
from workers.methods.congealing_3d.pose.increments import by_image, descend, places_in
from workers.methods.congealing_3d.pose.mask_refinement import MaskOptions, Silhouettes
from workers.methods.congealing_3d.pose.mask_refinement import poses_at_once as drawn_at_once
from workers.methods.congealing_3d.pose.observation import Observations, SurfaceSamples


@dataclass(frozen=True)
class JointOptions:
    """How poses are refined.

    Attributes:
        levels: rounds, coarse to fine; without any, poses are judged and stay.
        mask: weight of 1 - IoU; from the second round on, when features have brought the pose near.
        feature: weight of the distance of the image's cells from where their likes are seen.
        worse: a refinement that raises the semantic distance to more than this share of the first is dropped.
        free_focal: change focal lengths too.
        matching: how features are compared.
        silhouettes: how masks are compared; steps and rates are those of the levels.
    """

    levels: tuple[Level, ...] = LEVELS
    mask: float = 1.0
    feature: float = 2.0
    worse: float = 1.05
    free_focal: bool = False
    matching: MatchingOptions = field(default_factory=MatchingOptions)
    silhouettes: MaskOptions = field(default_factory=MaskOptions)


@dataclass(frozen=True)
class Refined:
    """V refined poses.

    Attributes:
        cameras: where they are now.
        iou: (V,) of soft silhouettes, in [0, 1]; None without masks.
        distance: (V,) semantic distance in [0, 2], see `FeatureMatching.distances`.
        kept: (V,) bool, False where the refinement was dropped and the pose is as it was.
    """

    cameras: Cameras
    iou: Tensor | None
    distance: Tensor
    kept: Tensor


def refine_jointly(
    observations: Observations,
    samples: SurfaceSamples,
    cameras: Cameras,
    images: Tensor,
    *,
    options: JointOptions | None = None,
    tick: Tick = no_tick,
) -> Refined:
    """Refine V poses by masks, where these are known, and features.

    Args:
        observations: N images.
        samples: of the canonical surface; about a thousand do.
        cameras: V poses, any number of each image.
        images: (V,), which image each is of.
        options: settings.
        tick: called every step.
    """
    options = options or JointOptions()
    silhouettes = None
    if observations.masks is not None:
        silhouettes = Silhouettes.of(observations, len(samples), options.silhouettes)

    def refine(rows: Tensor) -> Cameras:
        match = FeatureMatching(observations, samples, images[rows], options.matching)
        targets = None if silhouettes is None else silhouettes[images[rows]]
        poses = cameras[rows]
        for number, level in enumerate(options.levels):
            loss = _Loss(match.at(poses, level.radius), targets if number > 0 else None, samples.points, options)
            poses = descend(
                poses, loss, steps=level.steps, rate=level.rate, free_focal=options.free_focal, tick=tick
            ).cameras
        return poses

    most = matched_at_once(samples, options.matching)
    if silhouettes is not None:
        most = min(most, drawn_at_once(samples.points))
    found = joined([refine(rows) for rows in by_image(images, most=most)])[places_in(images)]
    before = feature_distances(observations, samples, cameras, images, options=options.matching)
    after = feature_distances(observations, samples, found, images, options=options.matching)
    kept = after <= options.worse * before
    cameras = found.where(kept, cameras)
    iou = None
    if silhouettes is not None:
        iou = _ious(silhouettes, samples.points, cameras, images, options.silhouettes)
    return Refined(cameras, iou, torch.where(kept, after, before), kept)


@dataclass(frozen=True)
class _Loss:
    semantic: Targets
    silhouettes: Silhouettes | None
    points: Tensor
    options: JointOptions

    def __call__(self, cameras: Cameras) -> Tensor:
        loss = self.options.feature * self.semantic.loss(cameras)
        if self.silhouettes is not None:
            loss = loss + self.options.mask * self.silhouettes.loss(self.points, cameras, self.options.silhouettes)
        return loss


@torch.no_grad()
def _ious(silhouettes: Silhouettes, points: Tensor, cameras: Cameras, images: Tensor, options: MaskOptions) -> Tensor:
    losses = [
        silhouettes[images[rows]].loss(points, cameras[rows], options)
        for rows in by_image(images, most=drawn_at_once(points))
    ]
    return 1 - torch.cat(losses)[places_in(images)]
