"""Adding images to a finished canonical plane: only the new ones' maps are fitted.

The anchors are images of the finished result, their features seen through their own maps: they stand in the plane
already. Every new image is fitted to them by its own matches: where many new images were matched with each other too,
they could agree best by all shrinking to one point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor
from torch.nn.functional import interpolate

from alignment.atlas import Atlas
from api_schemas.methods.asic import AsicParams
from workers.backbones.registry import BackboneProvider
from workers.geometry.coordinates import resize_grid, sample_at
from workers.imaging.frames import WorkingFrames, inner_slices, letterboxed, upload_to_frame
from workers.matching.projection import fit_projection
from workers.methods.asic.alignment import SplineAlignment, align
from workers.methods.asic.canonical_maps import NOWHERE, CanonicalMaps, canonical_maps, seen_through, spline_places
from workers.methods.asic.common import common
from workers.methods.asic.inputs import (
    FEATURE_DIM,
    MATCH_CELLS,
    WHITENING,
    DescribedSet,
    align_options,
    described_set,
    projected,
    tell_unmatched,
)
from workers.methods.asic.matching import cells_of
from workers.methods.asic.object_parts import parts_by_centroids
from workers.methods.asic.outcome.assembly import outcome
from workers.methods.asic.outcome.evidence import Evidence, consistency, match_counts, match_rows
from workers.methods.atlas.extended import with_base_kept
from workers.methods.base import BaseResult, InputImage, MethodResult
from workers.methods.features import Heartbeat, describe_frames
from workers.run_context import Run

MAX_ANCHORS = 12
_BEYOND = 1e5  # So far that no mean of it and a place in the frame lies in the frame.
_NEEDED = ("atlas_saliency", "part_features", "background_features", "matches")


@dataclass(frozen=True)
class Finished:
    """A finished result in the working frames of its B images."""

    maps: CanonicalMaps
    saliency: Tensor
    scores: Sequence[Mapping[str, JsonValue]]
    tensors: Mapping[str, Tensor]

    def figures(self, name: str) -> Tensor:
        """One of the scores of all images, (B,)."""
        return torch.tensor([score[name] for score in self.scores], dtype=torch.float32, device=self.saliency.device)

    def anchors(self) -> Tensor:
        """Indices (K,) of the images that lie best; those that do not belong come last."""
        order = self.figures("alignment_score") - 2 * self.figures("outlier")
        count = min(MAX_ANCHORS, max(1, int((self.figures("outlier") == 0).sum())))
        return order.argsort(descending=True, stable=True)[:count].sort().values


def add_images(
    base: BaseResult, images: Sequence[InputImage], params: AsicParams, backbones: BackboneProvider, run: Run
) -> MethodResult:
    """Add images to a finished plane; see `ExtendableMethod.extend`.

    Raises:
        ValueError: the result lacks what belongs to it.
        NoMatchesError: the new images match nothing.
    """
    pulse = Heartbeat(run)
    pulse.stage("features")
    count = len(base.form.images)
    # Masks of the new images count where there are any, whatever the finished ones had.
    adding = params.model_copy(update={"preset": "draft", "saliency": "auto"})
    new = described_set(backbones, images[count:], adding, run, pulse)
    frames = letterboxed([image.rgb for image in images[:count]], params.working_size, run.device)
    finished = finished_plane(base, frames)
    old = replace(
        new,
        frames=frames,
        features=describe_frames(new.backbone, frames, pulse, backbones.cache),
        mirrored_features=None
        if new.mirrored_features is None
        else describe_frames(new.backbone, frames.mirrored(), pulse, backbones.cache),
        masks=None,
    )
    pulse.stage("maps")
    anchors = finished.anchors()
    found = _fitted(old, new, finished, anchors, params, pulse)
    added = len(new.features)
    tell_unmatched(match_counts(found.matches, added + len(anchors))[:added], images[count:], pulse)
    mine = canonical_maps(
        spline_places(found.controls[:added], frames.size),
        found.mirrored[:added],
        size=frames.size,
        atlas_size=len(finished.saliency),
        tick=pulse.beat,
    )
    maps = CanonicalMaps(
        torch.cat([finished.maps.places, mine.places]),
        torch.cat([finished.maps.grids, mine.grids]),
        torch.cat([finished.maps.mirrored, mine.mirrored]),
    )
    together = _joined(old, new)
    seen = common(together, maps, pulse.beat, saliency=finished.saliency)
    pulse.stage("parts")
    centroids, background = finished.tensors["part_features"], finished.tensors["background_features"]
    alike = together.described_upright(maps.mirrored)
    parts = parts_by_centroids(alike, seen.foreground, centroids, background, pulse.beat)
    everything = _evidence(finished, found, anchors, together.frames)
    return _kept(base, outcome(maps, everything, seen, parts, together, pulse))


def finished_plane(base: BaseResult, frames: WorkingFrames) -> Finished:
    """Bring a stored result into the working frames of its images.

    Raises:
        ValueError: the result is not an atlas with all that belongs to it.
    """
    missing = set(_NEEDED) - set(base.tensors)
    if not isinstance(base.form, Atlas) or missing:
        raise ValueError(f"the result to extend lacks {', '.join(sorted(missing)) or 'an atlas'}; compute it anew")
    device = frames.pictures.device
    grids, places = [], []
    for index, box in enumerate(frames.boxes):
        grid = upload_to_frame(_tensor(base.form.from_canonical[index], device), box)
        grids.append(grid.nan_to_num(nan=_BEYOND))
        own = torch.full((frames.size, frames.size, 2), NOWHERE, device=device)
        own[inner_slices(box)] = 2 * _tensor(base.form.to_canonical[index], device) - 1
        places.append(own)
    mirrored = torch.tensor([bool(score["mirrored"]) for score in base.scores], device=device)
    tensors = {name: _tensor(base.tensors[name], device) for name in _NEEDED}
    maps = CanonicalMaps(torch.stack(places), torch.stack(grids), mirrored)
    return Finished(maps, tensors["atlas_saliency"], base.scores, tensors)


def _fitted(
    old: DescribedSet, new: DescribedSet, finished: Finished, anchors: Tensor, params: AsicParams, pulse: Heartbeat
) -> SplineAlignment:
    """Fit the M new images to the anchors, which follow them in the alignment."""
    shown, area = _seen_in_plane(old, finished, anchors, masked=new.masks is not None)
    everything = torch.cat([new.features, shown])
    project = fit_projection(everything, torch.cat([new.area, area]), dim=FEATURE_DIM, whitening=WHITENING)
    upright = cells_of(projected(project, everything), torch.cat([new.area, area]), MATCH_CELLS)
    turned = None
    if new.mirrored_features is not None:
        mirrored = torch.cat([new.mirrored_features, shown])
        turned = cells_of(projected(project, mirrored), torch.cat([new.area.flip(-1), area]), MATCH_CELLS)
    added = len(new.features)
    pairs = [(mine, added + anchor) for mine in range(added) for anchor in range(len(anchors))]
    fixed = torch.arange(added + len(anchors), device=anchors.device) >= added
    return align(upright, turned, pairs, align_options(params), fixed=fixed, tick=pulse.beat)


def _seen_in_plane(old: DescribedSet, finished: Finished, anchors: Tensor, *, masked: bool) -> tuple[Tensor, Tensor]:
    """Features (K, C, c, c) of the anchors in the canonical square, and the area (K, 1, c, c) that may be matched."""
    cells = int(old.features.shape[-1])
    grids, flip = resize_grid(finished.maps.grids[anchors], cells), finished.maps.grids.new_tensor([-1.0, 1.0])
    shown = []
    for anchor, grid in zip(anchors.tolist(), grids, strict=True):
        if bool(finished.maps.mirrored[anchor]) and old.mirrored_features is not None:
            shown.append(seen_through(old.mirrored_features[anchor : anchor + 1], (grid * flip)[None]))
        else:
            shown.append(seen_through(old.features[anchor : anchor + 1], grid[None]))
    area = seen_through(old.valid[anchors], grids)
    if masked:
        area = area * interpolate(finished.saliency[None, None], (cells, cells), mode="bilinear", antialias=True)
    return torch.cat(shown), area


def _evidence(finished: Finished, found: SplineAlignment, anchors: Tensor, frames: WorkingFrames) -> Evidence:
    """That of the finished images as it was, and that of the new ones."""
    matches, before = found.matches, len(finished.scores)
    added = len(found.controls) - len(anchors)
    counts = match_counts(matches, len(found.controls))[:added]
    agreeing = consistency(matches, found.trust, len(found.controls))[:added]
    # Anchors take part by their places in the plane; as matches of their images they are read through their maps.
    numbers = torch.cat([before + torch.arange(added, device=anchors.device), anchors])
    ends, listed = [], matches.weights > 0
    for of, points in ((matches.first, matches.first_points), (matches.second, matches.second_points)):
        side = torch.where(found.mirrored[of], -1.0, 1.0).to(points)
        as_uploaded = points * torch.stack([side, torch.ones_like(side)], dim=1).unsqueeze(1)
        maps = finished.maps.grids[numbers[of].clamp(max=before - 1)].permute(0, 3, 1, 2)
        through = sample_at(maps, points).transpose(1, 2)
        ends.append(torch.where((of >= added).view(-1, 1, 1), through, as_uploaded))
        listed = listed & (ends[-1].abs() <= 1).all(dim=2)
    weights = matches.weights * listed
    renumbered = replace(matches, first=numbers[matches.first], second=numbers[matches.second], weights=weights)
    rows = match_rows(renumbered, ends[0], ends[1], found.trust, frames)
    return Evidence(
        torch.cat([finished.figures("matches").long(), counts]),
        torch.cat([finished.figures("consistency"), agreeing]),
        torch.cat([finished.tensors["matches"], rows]),
    )


def _joined(first: DescribedSet, second: DescribedSet) -> DescribedSet:
    mirrored = None
    if first.mirrored_features is not None and second.mirrored_features is not None:
        mirrored = torch.cat([first.mirrored_features, second.mirrored_features])
    return DescribedSet(
        first.backbone,
        WorkingFrames(
            torch.cat([first.frames.pictures, second.frames.pictures]), first.frames.boxes + second.frames.boxes
        ),
        torch.cat([first.features, second.features]),
        mirrored,
        None,
    )


def _kept(base: BaseResult, result: MethodResult) -> MethodResult:
    """The result with what `base` says of its own images put back as it was."""
    kept = with_base_kept(base, result)
    of_set = {
        "outliers": sum(bool(score["outlier"]) for score in kept.scores),
        "alignment_score": float(np.mean([score["alignment_score"] for score in kept.scores])),
    }
    return replace(kept, set_scores={**kept.set_scores, **of_set})


def _tensor(array: npt.NDArray[np.floating], device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32)).to(device)
