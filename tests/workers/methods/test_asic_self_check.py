"""Maps that are no alignment are called so by the self-check of what is exported."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from workers.backbones.base import no_tick
from workers.backbones.registry import BackboneProvider
from workers.evaluation.template_set import TemplateSet, template_set
from workers.geometry.coordinates import identity_grid
from workers.geometry.joint_splines import JointOptions
from workers.imaging.frames import letterboxed
from workers.methods.asic.aligned import Aligned
from workers.methods.asic.alignment import AlignOptions, SplineAlignment, align
from workers.methods.asic.canonical_maps import canonical_maps, spline_places
from workers.methods.asic.common import common
from workers.methods.asic.inputs import DescribedSet
from workers.methods.asic.matching import chosen_pairs
from workers.methods.asic.object_parts import ObjectParts
from workers.methods.asic.outcome.assembly import outcome
from workers.methods.asic.outcome.evidence import evidence
from workers.methods.asic.trained import agreement_of_places
from workers.methods.base import InputImage
from workers.methods.export import export
from workers.methods.features import Heartbeat
from workers.run_context import Run

SIZE, ATLAS = 128, 64


@cache
def truth() -> TemplateSet:
    return template_set()


def rgbs() -> list[np.ndarray]:
    return [(rgb.transpose(1, 2, 0) * 255).round().astype(np.uint8) for rgb in truth().images]


@cache
def described() -> DescribedSet:
    backbone = BackboneProvider().get("dense_descriptor")
    features, masks = torch.from_numpy(truth().features), torch.from_numpy(truth().masks)
    return DescribedSet(backbone, letterboxed(rgbs(), SIZE, "cpu"), features, None, masks)


@cache
def found() -> SplineAlignment:
    upright, _ = described().cells()
    pairs = chosen_pairs(len(upright.places), 20, 0)
    options = AlignOptions(most_matches=100, guided_rounds=0, splines=JointOptions(controls=6, rounds=12))
    return align(upright, None, pairs, options)


def checked(places: Tensor, folder: Path) -> dict[str, object]:
    """The self-check of an exported alignment with these places (N, S, S, 2) of the frames' cells."""
    matches, set_, pulse = found().matches, described(), Heartbeat(Run.local())
    aligned = Aligned(places, found().mirrored, matches, agreement_of_places(matches, places))
    maps = canonical_maps(places, aligned.mirrored, size=SIZE, atlas_size=ATLAS, tick=no_tick)
    count, channels = set_.features.shape[:2]
    none = set_.features.new_zeros(0, channels)
    parts = ObjectParts(torch.full((count, SIZE, SIZE), -1), none, none)
    seen = common(set_, maps, no_tick, aligned=aligned)
    result = outcome(maps, evidence(aligned, set_.frames), seen, parts, set_, pulse)
    images = [InputImage(f"{index}.png", rgb) for index, rgb in enumerate(rgbs())]
    return dict(export(result, images, folder).self_check)


def identity() -> Tensor:
    return identity_grid(SIZE, SIZE).expand(len(rgbs()), -1, -1, -1)


def warned(check: dict[str, object], beginning: str) -> bool:
    warnings = check["warnings"]
    assert isinstance(warnings, list)
    return any(str(warning).startswith(beginning) for warning in warnings)


def test_a_good_alignment_raises_no_doubt(tmp_path: Path) -> None:
    check = checked(spline_places(found().controls, SIZE), tmp_path)
    assert check["warnings"] == []
    assert check["consistency"] > 0.95  # type: ignore[operator]
    assert check["alignment_score"] > 0.8  # type: ignore[operator]


@pytest.mark.parametrize("seed", [0, 1])
def test_maps_dealt_out_at_random_are_not_to_be_trusted(seed: int, tmp_path: Path) -> None:
    order = torch.randperm(len(rgbs()), generator=torch.Generator().manual_seed(seed))
    check = checked(spline_places(found().controls[order], SIZE), tmp_path)
    assert check["consistency"] < 0.4  # type: ignore[operator]
    assert warned(check, "the maps explain only")


def test_the_identity_is_not_to_be_trusted(tmp_path: Path) -> None:
    check = checked(identity(), tmp_path)
    assert check["consistency"] < 0.4  # type: ignore[operator]
    assert check["cycle_consistent"] == 1
    assert warned(check, "the maps explain only")


def test_maps_to_one_place_are_called_folded_or_empty(tmp_path: Path) -> None:
    check = checked(0 * identity(), tmp_path / "point")
    for index in range(len(rgbs())):
        assert warned(check, f"image {index} ({index}.png): only 0% of its map")
        assert warned(check, f"image {index} ({index}.png): 100% of its map folds over")
    shrunk = checked(0.05 * identity(), tmp_path / "shrunk")
    assert warned(shrunk, "image 0 (0.png): only 0% of its map")
