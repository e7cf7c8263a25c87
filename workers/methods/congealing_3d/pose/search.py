"""From crops and candidates to a pose for every image, with what else it could be."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.backbones.base import Tick, no_tick
from workers.geometry.cameras import Cameras, angles_between_deg, joined
from workers.methods.congealing_3d.pose.agreement import agreeing_choice
from workers.methods.congealing_3d.pose.bank import Bank, Step, SurfaceReader, no_step
from workers.methods.congealing_3d.pose.chance import scores_by_chance
from workers.methods.congealing_3d.pose.hypotheses import Hypotheses, strongest_modes
from workers.methods.congealing_3d.pose.joint_refinement import JointOptions, refine_jointly
from workers.methods.congealing_3d.pose.lifting import sampled_surface, seen_features
from workers.methods.congealing_3d.pose.observation import Observations, SurfaceSamples
from workers.methods.congealing_3d.pose.placement import in_pictures, placed, within
from workers.methods.congealing_3d.pose.scoring import fit_scores, pair_scores
from workers.methods.congealing_3d.pose.settling import settle
from workers.methods.congealing_3d.pose.solving import solved_poses

POINTS = 1200
_AGREED_POINTS = 500
_AMBIGUOUS_SHARE = 0.02
_APART_DEG = 60.0
JUDGED_ALONE = JointOptions(levels=())
"""Changes nothing."""
_STEPS = 3
_DRAWN_AT_ONCE = 64
_WORSE = 0.05
"""How much worse a refined pose may fit, where masks are known."""
_WIDEST = 1.5
"""Sides of the crop that the shape may span: the object is whole in it. Features alone may let a pose grow."""
_TIGHT_FIT = 0.1
"""Weight of a pose's own fit beside its candidate's score, of objects whose box is known and no mask."""
_SAME_DEG = 0.1
_SOLVED = 2
"""Modes of each image from which a pose is also solved by matches."""


@dataclass(frozen=True)
class SearchOptions:
    """How poses are found.

    Attributes:
        hypotheses: modes of the grid's scores that are followed.
        refine: refine them; else the grid's poses are final.
        collective: let images decide together, where masks are known.
        joint: how poses are refined.
    """

    hypotheses: int = 5
    refine: bool = True
    collective: bool = True
    joint: JointOptions | None = None


@dataclass(frozen=True)
class FoundPoses:
    """Poses of N images, M for each, best first.

    Attributes:
        cameras: N x M poses, those of an image together.
        scores: (N, M) as the poses were chosen by; -inf where there are fewer.
        fits: (N, M) scores of the poses by themselves, of rendered views against crops.
        ious: (N, M) of silhouettes, or None without masks.
        grid_scores: (N,) of the best candidate.
        chance_scores: (N,) best candidate's score with the image's features in disorder.
        ambiguous: (N,) bool, whether quite another pose fits, by itself, nearly as well.
    """

    cameras: Cameras
    scores: Tensor
    fits: Tensor
    ious: Tensor | None
    grid_scores: Tensor
    chance_scores: Tensor
    ambiguous: Tensor

    @property
    def best(self) -> Cameras:
        """The pose of each image."""
        count, each = self.scores.shape
        return self.cameras[torch.arange(count, device=self.scores.device) * each]

    @property
    def by_chance(self) -> Tensor:
        """Whether an image's best candidate is no better than disorder, (N,) bool."""
        return self.grid_scores <= self.chance_scores


def find_poses(
    observations: Observations,
    bank: Bank,
    reader: SurfaceReader,
    options: SearchOptions,
    *,
    seed: int,
    tick: Tick = no_tick,
    step: Step = no_step,
) -> FoundPoses:
    """Find the poses of N images.

    Args:
        observations: what is known of them.
        bank: the candidates.
        reader: draws and describes the shape.
        options: settings.
        seed: of all that is drawn.
        tick: shows life.
        step: is told how many of how many parts are done.
    """
    masks = _cell_masks(observations)
    scores = fit_scores(observations.features, masks, bank)
    chance = scores_by_chance(observations.features, masks, bank, seed=seed, tick=tick).amax(dim=1)
    modes = strongest_modes(scores, bank.grid.cameras, count=options.hypotheses)
    samples = sampled_surface(reader.surface, bank, count=POINTS, seed=seed)
    cameras, images = _first_poses(observations, bank, modes)
    if options.refine:
        tried = modes.indices[:, :_SOLVED]
        solved, theirs = solved_poses(observations, bank, reader.surface, tried, seed=seed, tick=tick)
        whole = within(solved, samples.points, observations.windows[theirs], most=_WIDEST)
        cameras, images = joined([cameras, solved[whole]]), torch.cat([images, theirs[whole]])
    step(1, _STEPS)
    judged = _judged(observations, samples, masks, bank, reader, cameras, images, JUDGED_ALONE, tick)
    step(2, _STEPS)
    if options.refine:
        joint = options.joint or JointOptions()
        refined = _judged(observations, samples, masks, bank, reader, cameras, images, joint, tick)
        whole = within(refined.cameras, samples.points, observations.windows[images], most=_WIDEST)
        judged = judged.refined_to(refined, whole, worse=0.0 if masks is None else _WORSE)
        judged = _settled(observations, samples, masks, bank, reader, judged, images, tick)
    step(_STEPS, _STEPS)
    total = judged.total
    if masks is None:
        fit_weight = torch.where(observations.is_tight, _TIGHT_FIT, 1.0)[images]
        total = _candidate_scores(scores, bank, cameras, images) + fit_weight * judged.fits
    table = _by_image(images, len(observations))
    chosen_by = _filled(total, table)
    if options.collective and masks is not None:
        chosen_by = _agreed(observations, samples, judged.cameras, table, chosen_by)
    order = chosen_by.argsort(dim=1, descending=True, stable=True)
    table, chosen_by = table.gather(1, order), chosen_by.gather(1, order)
    return FoundPoses(
        cameras=judged.cameras[table.clamp_min(0).flatten()],
        scores=chosen_by,
        fits=_filled(judged.fits, table),
        ious=None if judged.ious is None else _filled(judged.ious, table),
        grid_scores=scores.amax(dim=1),
        chance_scores=chance,
        ambiguous=_ambiguous(judged.cameras, table, _filled(total, table)),
    )


def _cell_masks(observations: Observations) -> Tensor | None:
    """Masks on the cells of the features."""
    if observations.masks is None:
        return None
    return adaptive_avg_pool2d(observations.masks, observations.features.shape[-1])


def _first_poses(observations: Observations, bank: Bank, modes: Hypotheses) -> tuple[Cameras, Tensor]:
    """The candidates as cameras of the images, and which image each is of; modes that are repeated count once."""
    count, each = modes.indices.shape
    images = torch.arange(count, device=modes.indices.device).repeat_interleave(each)
    flat = modes.indices.flatten()
    repeats = torch.zeros_like(modes.indices, dtype=torch.bool)
    repeats[:, 1:] = modes.indices[:, 1:] == modes.indices[:, :-1]
    kept = ~repeats.flatten()
    flat, images = flat[kept], images[kept]
    cameras, windows = in_pictures(bank.grid.cameras[flat], bank.windows[flat], observations.aspect[images])
    return placed(cameras, windows, observations.windows[images]), images


@dataclass(frozen=True)
class _Judged:
    """V poses with how well they fit by themselves: see `FoundPoses`."""

    cameras: Cameras
    fits: Tensor
    ious: Tensor | None

    @property
    def total(self) -> Tensor:
        """What poses are compared by, (V,)."""
        return self.fits if self.ious is None else self.fits + self.ious

    def refined_to(self, others: _Judged, whole: Tensor, *, worse: float) -> _Judged:
        """The refined poses but for those that are not whole (V,), or fit worse by so much.

        Features that say little can lead them astray.
        """
        better = whole & (others.total > self.total - worse)
        cameras = others.cameras.where(better, self.cameras)
        ious = None
        if self.ious is not None and others.ious is not None:
            ious = torch.where(better, others.ious, self.ious)
        return _Judged(cameras, torch.where(better, others.fits, self.fits), ious)


def _judged(
    observations: Observations,
    samples: SurfaceSamples,
    masks: Tensor | None,
    bank: Bank,
    reader: SurfaceReader,
    cameras: Cameras,
    images: Tensor,
    joint: JointOptions,
    tick: Tick,
) -> _Judged:
    """Refine V poses as `joint` says and judge them."""
    refined = refine_jointly(observations, samples, cameras, images, options=joint, tick=tick)
    fits = _fits(observations, masks, bank, reader, refined.cameras, images, tick)
    return _Judged(refined.cameras, fits, refined.iou)


def _settled(
    observations: Observations,
    samples: SurfaceSamples,
    masks: Tensor | None,
    bank: Bank,
    reader: SurfaceReader,
    judged: _Judged,
    images: Tensor,
    tick: Tick,
) -> _Judged:
    """Settle those of V poses whose images' features tell places well, and judge them anew."""
    cameras, sharp = settle(observations, samples, judged.cameras, images, tick=tick)
    if not sharp.any():
        return judged
    return _judged(observations, samples, masks, bank, reader, cameras, images, JUDGED_ALONE, tick)


def _fits(
    observations: Observations,
    masks: Tensor | None,
    bank: Bank,
    reader: SurfaceReader,
    cameras: Cameras,
    images: Tensor,
    tick: Tick,
) -> Tensor:
    """Scores (V,) of views drawn at V poses through their images' windows."""
    parts = []
    for rows in torch.split(torch.arange(len(images), device=images.device), _DRAWN_AT_ONCE):
        own = images[rows]
        features, theirs = reader.seen(cameras[rows], observations.windows[own], bank.projection, tick=tick)
        parts.append(pair_scores(observations.features[own], None if masks is None else masks[own], features, theirs))
    return torch.cat(parts)


def _candidate_scores(scores: Tensor, bank: Bank, cameras: Cameras, images: Tensor) -> Tensor:
    """Scores (V,) of the candidates that look from nearest to where V poses do, of any field of view.

    Without masks the candidate from which a pose began tells more than likeness to other images, much of which is that
    of their backgrounds, and, of tight crops, than the pose's own fit.
    """
    turns = angles_between_deg(cameras.rotation[:, None], bank.grid.cameras.rotation[None])
    nearest = turns <= turns.amin(dim=1, keepdim=True) + _SAME_DEG
    return scores[images].masked_fill(~nearest, -torch.inf).amax(dim=1)


def _by_image(images: Tensor, count: int) -> Tensor:
    """Rows (N, M) of the poses of each image; -1 where an image has fewer."""
    rows = [(images == image).nonzero().squeeze(1) for image in range(count)]
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)


def _filled(values: Tensor, table: Tensor) -> Tensor:
    """Values (V,) by image (N, M), -inf where there is none."""
    return torch.where(table >= 0, values[table.clamp_min(0)], -torch.inf)


def _agreed(
    observations: Observations, samples: SurfaceSamples, cameras: Cameras, table: Tensor, scores: Tensor
) -> Tensor:
    spread = torch.linspace(0, len(samples) - 1, _AGREED_POINTS, device=table.device).long()
    few = SurfaceSamples(samples.points[spread], samples.normals[spread], samples.features[spread])
    lifted, visible = [], []
    for image, rows in enumerate(table):
        own = torch.full_like(rows, image)
        found, seen = seen_features(
            observations.features[own], observations.windows[own], cameras[rows.clamp_min(0)], few
        )
        lifted.append(found)
        visible.append(seen)
    return agreeing_choice(torch.stack(lifted), torch.stack(visible), scores)[1]


def _ambiguous(cameras: Cameras, table: Tensor, scores: Tensor) -> Tensor:
    """Whether a pose turned by more than 60 degrees scores by itself within 2 percent of the chosen one, (N,).

    What the images decide together does not count: images of a bench agree on a front, but it has none.
    """
    rotations = cameras.rotation[table.clamp_min(0)]
    turned = angles_between_deg(rotations[:, :1], rotations) > _APART_DEG
    near = scores >= scores[:, :1] - _AMBIGUOUS_SHARE * scores[:, :1].abs()
    return (turned & near & (table >= 0)).any(dim=1)
