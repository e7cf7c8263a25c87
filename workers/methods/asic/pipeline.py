"""ASIC (arXiv 2303.16201), from images to canonical coordinates in uploaded pixels."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, count

import torch
from torch import Tensor

from api_schemas.methods.asic import AsicParams
from workers.geometry.coordinates import identity_grid
from workers.methods.asic.aligned import Aligned
from workers.methods.asic.alignment import NoMatchesError, align, expected_ticks
from workers.methods.asic.canonical_maps import CanonicalMaps, canonical_maps, spline_places
from workers.methods.asic.common import common
from workers.methods.asic.extension import add_images
from workers.methods.asic.inputs import DescribedSet, align_options, described_set, tell_unmatched
from workers.methods.asic.matching import chosen_pairs, matched
from workers.methods.asic.object_parts import found_parts
from workers.methods.asic.outcome.assembly import outcome
from workers.methods.asic.outcome.evidence import evidence, match_counts
from workers.methods.asic.trained import agreement_of_places, trained
from workers.methods.base import BaseResult, ExtendableMethod, InputImage, MethodResult
from workers.methods.features import Heartbeat
from workers.run_context import Run


class Asic(ExtendableMethod[AsicParams]):
    """Maps every pixel of all images to one canonical plane."""

    @torch.no_grad()
    def run(self, images: Sequence[InputImage], params: AsicParams, run: Run) -> MethodResult:
        """Align `images`; see `Method.run`. Checkpoints hold the training; what comes before is computed again.

        Raises:
            NoMatchesError: no two images have anything to match.
        """
        pulse = Heartbeat(run)
        pulse.stage("features")
        described = described_set(self.backbones, images, params, run, pulse)
        parity = params.preset == "parity"
        pulse.stage("maps")
        aligned, controls = _unaligned(described, pulse) if parity else _explicit(described, params, run.seed, pulse)
        tell_unmatched(match_counts(aligned.matches, len(images)), images, pulse)
        maps = _maps(aligned, described, params, pulse)
        seen = common(described, maps, pulse.beat, aligned=aligned)
        pulse.stage("parts")
        foreground = seen.foreground if described.masks is not None or not parity else described.valid
        alike = described.described_upright(aligned.mirrored)
        parts = found_parts(alike, foreground, params.num_parts, pulse, seed=run.seed, parity=parity)
        if params.preset != "draft":
            aligned = trained(aligned, controls, described, foreground, parts, params, self.backbones, run, pulse)
            maps = _maps(aligned, described, params, pulse)
            seen = common(described, maps, pulse.beat, aligned=aligned)
        found = evidence(aligned, described.frames)
        return outcome(maps, found, seen, parts, described, pulse, training=aligned.training)

    @torch.no_grad()
    def extend(self, base: BaseResult, images: Sequence[InputImage], params: AsicParams, run: Run) -> MethodResult:
        """Add images to a finished canonical plane, which stays as it is; see `ExtendableMethod.extend`.

        Images are always added by their matches, whatever the preset.
        """
        return add_images(base, images, params, self.backbones, run)


def _explicit(described: DescribedSet, params: AsicParams, seed: int, pulse: Heartbeat) -> tuple[Aligned, Tensor]:
    upright, turned = described.cells()
    pairs = chosen_pairs(len(described.features), params.partners, seed)
    options, done = align_options(params), count(1)
    total = expected_ticks(len(pairs), options, flips=turned is not None)
    found = align(upright, turned, pairs, options, tick=lambda: pulse.step(min(next(done), total), total))
    places = spline_places(found.controls, described.frames.size)
    return Aligned(places, found.mirrored, found.matches, found.trust), found.controls


def _unaligned(described: DescribedSet, pulse: Heartbeat) -> tuple[Aligned, None]:
    """All images where they are, with the official matches of all pairs."""
    cells, _ = described.cells(parity=True)
    images, size = len(described.features), described.frames.size
    matches = matched(cells, cells, list(combinations(range(images), 2)), most=None, tick=pulse.beat)
    if not bool(matches.weights.any()):
        raise NoMatchesError
    device = described.features.device
    places = identity_grid(size, size, device=device).expand(images, -1, -1, -1)
    none = torch.zeros(images, dtype=torch.bool, device=device)
    return Aligned(places, none, matches, agreement_of_places(matches, places)), None


def _maps(aligned: Aligned, described: DescribedSet, params: AsicParams, pulse: Heartbeat) -> CanonicalMaps:
    return canonical_maps(
        aligned.places,
        aligned.mirrored,
        size=described.frames.size,
        atlas_size=params.atlas_size,
        tick=pulse.beat,
    )
