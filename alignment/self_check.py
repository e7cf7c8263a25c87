"""What a result says about its own quality without any labels."""

from collections.abc import Collection, Sequence

import numpy as np
from pydantic import JsonValue

from alignment.atlas import Atlas
from alignment.forms import Form
from alignment.map_figures import CYCLE_TOLERANCE, NO_CYCLE, Figures, cycle_figures, fold_over, means, probes_of
from alignment.pairwise import PairwiseMaps
from alignment.queried_points import nearest_rows
from alignment.sampling import within
from alignment.shape import Shape
from alignment.shape_check import check_shape, warn_of_surface

_LOW_COVERAGE = 0.25
_HIGH_FOLD_OVER = 0.1
_LOW_ALIGNMENT = 0.5
_LOW_CONSISTENCY = 0.5
_LOW_CONSISTENCY_OF_IMAGE = 0.25
_SAME_PX = 0.01
"""How far a way back may begin from where a point was found: rounding, no more."""
_UNMAPPED = {"coverage": 0.0, "fold_over": 0.0, "cycle_error": 1.0, "cycle_consistent": 0.0}
_UNKNOWN = {"coverage": None, "fold_over": None, **NO_CYCLE}


def self_check(
    form: Form,
    *,
    agreement: Sequence[float] = (),
    alignment_scores: Sequence[float] = (),
    consistency: Sequence[float] = (),
    outliers: Collection[int] = (),
    names: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> dict[str, JsonValue]:
    """Score cycle consistency, coverage and fold-over of every image's maps.

    The cycles of an atlas close whether or not it is right; `agreement` is the figure that falls when it is not, and
    `alignment_score` tells which images spoil it; `consistency` falls when maps leave aside what pairs of images show.

    Args:
        form: the result.
        agreement: per image how alike its aligned features are to the others', in [-1, 1]; empty when not measured.
        alignment_scores: per image in [0, 1], 1 as good as a typical image of the set, 0 chance; may be empty.
        consistency: per image in [0, 1] the share of the matches that pairs of images agree on that its map explains;
            may be empty.
        outliers: indices of images that agree far less with the others than they do.
        names: of the images, for the warnings; may be empty.
        warnings: of the method's own, which come first.

    Returns:
        Means over the images of `coverage` (share of cells with a correspondence inside its frame), `fold_over` (share
        of mapped cells whose orientation differs from the majority), `cycle_error` (median distance after a way there
        and back, as a share of the longer side), `cycle_consistent` (share of probes that return within 0.1 of the
        longer side) and, if measured, `agreement`, `alignment_score` and `consistency`; `images` with the same per
        image, with `outlier` where there are alignment scores, and `warnings`. For an atlas the way is image, atlas,
        image; for pairwise maps and shapes it is image, other image, image, over all others. Of a shape coverage and
        fold-over are of its surface, and there is more; see `alignment.shape_check.check_shape`.

        A figure that is not known is None, counts in no mean and gives no warning: fold-over of single points, cycles
        where no way leads back, and everything of an image that points, or one-way maps, only lead to. Points are
        measured by themselves: `coverage` is the share that was found inside the frame, and the cycle goes back from
        where they were found. Where maps lead both ways between some images, one to or from which none leads has the
        worst figures.
    """
    rows, whole = _checked(form)
    measured = (("agreement", agreement), ("alignment_score", alignment_scores), ("consistency", consistency))
    for name, values in measured:
        rows = [{**row, name: value} for row, value in zip(rows, values, strict=True)] if values else rows
    summary: dict[str, JsonValue] = {key: _rounded(value) for key, value in means(rows).items()} | whole
    flags: list[dict[str, JsonValue]] = [
        {"outlier": index in outliers} if alignment_scores else {} for index in range(len(rows))
    ]
    images: list[JsonValue] = [
        {**{key: _rounded(value) for key, value in row.items()}, **flag} for row, flag in zip(rows, flags, strict=True)
    ]
    labels = [f"image {index} ({name})" for index, name in enumerate(names)]
    labels = labels or [f"image {index}" for index in range(len(rows))]
    found = _warnings(rows, outliers, labels, of_surface=isinstance(form, Shape))
    if isinstance(form, Shape):
        found = [*warn_of_surface(rows, whole, labels), *found]
    return summary | {"images": images, "warnings": [*warnings, *found]}


def _checked(form: Form) -> tuple[list[Figures], dict[str, JsonValue]]:
    """Figures of every image, and what else is known of the result as a whole."""
    if isinstance(form, Shape):
        return check_shape(form)
    if isinstance(form, Atlas):
        return [_check_atlas_image(form, index) for index in range(len(form.images))], {}
    return [_check_pairs_image(form, index) for index in range(len(form.images))], {}


def _check_atlas_image(atlas: Atlas, index: int) -> Figures:
    size = atlas.images[index]
    probes = probes_of(size)
    there = atlas.transfer(probes, source=index, target=None)
    back = atlas.transfer(there.points, source=None, target=index)
    backward = atlas.from_canonical[index]
    inside = within(backward, size.extent)
    return {
        "coverage": float(inside.mean()),
        "fold_over": fold_over(np.where(inside[..., None], backward, np.nan)),
        **cycle_figures(probes, back.points, size, asked=there.inside),
    }


def _check_pairs_image(pairs: PairwiseMaps, index: int) -> Figures:
    leads_back = any((target, source) in pairs.maps for source, target in pairs.maps)
    rows = []
    for other in range(len(pairs.images)):
        if (index, other) in pairs.maps:
            if pairs.has_map(other, index) or not leads_back:
                rows.append(_check_map(pairs, index, other))
        elif pairs.has_points(index, other):
            rows.append(_check_points(pairs, index, other))
    if rows:
        return means(rows)
    return _UNMAPPED if leads_back or not (pairs.maps or pairs.points) else _UNKNOWN


def _check_map(pairs: PairwiseMaps, index: int, other: int) -> Figures:
    size = pairs.images[index]
    probes = probes_of(size)
    there = pairs.transfer(probes, source=index, target=other)
    row = {"coverage": float(there.inside.mean()), "fold_over": fold_over(pairs.places(index, other))}
    if pairs.has_points(index, other) or pairs.has_points(other, index):
        # Maps made of points lead back where they came from, whatever they are worth.
        return {**row, **_cycle_of_points(pairs, index, other)}
    if not pairs.has_map(other, index):
        return {**row, **NO_CYCLE}
    back = pairs.transfer(there.points, source=other, target=index)
    return {**row, **cycle_figures(probes, back.points, size, asked=there.inside)}


def _check_points(pairs: PairwiseMaps, index: int, other: int) -> Figures:
    """Measure queried points; of those found, the way back begins at the very places where they were found."""
    inside = within(pairs.points[index, other][:, 2:4], pairs.images[other].extent)
    return {"coverage": float(inside.mean()), "fold_over": None, **_cycle_of_points(pairs, index, other)}


def _cycle_of_points(pairs: PairwiseMaps, index: int, other: int) -> Figures:
    if not (pairs.has_points(index, other) and pairs.has_points(other, index)):
        return NO_CYCLE
    queried, back = np.asarray(pairs.points[index, other], dtype=np.float64), pairs.points[other, index]
    places = queried[:, 2:4]
    rows = nearest_rows(places, back, reach=_SAME_PX)
    asked = within(places, pairs.images[other].extent) & (rows >= 0)
    if not asked.any():
        return NO_CYCLE
    ends = np.asarray(back[rows, 2:4], dtype=np.float64)
    return {**cycle_figures(queried[:, :2], ends, pairs.images[index], asked=asked)}


def _warnings(
    rows: Sequence[Figures], outliers: Collection[int], labels: Sequence[str], *, of_surface: bool
) -> list[JsonValue]:
    """Say in words what is low or high; coverage only if it is of a map or of points, not of a surface."""
    overall = means(rows)
    warnings: list[JsonValue] = []
    if (aligned := _or(overall.get("alignment_score"), 1.0)) < _LOW_ALIGNMENT:
        warnings.append(f"the images hardly agree (mean alignment score {aligned:.2f}); do not trust their maps")
    if (explained := _or(overall.get("consistency"), 1.0)) < _LOW_CONSISTENCY:
        warnings.append(
            f"the maps explain only {explained:.0%} of the matches that pairs of images agree on; do not trust them"
        )
    warnings += [
        f"{labels[index]}: agrees far less with the others than they do; it may not belong to the set"
        for index in sorted(outliers)
    ]
    for label, row in zip(labels, rows, strict=True):
        if (explained := _or(row.get("consistency"), 1.0)) < _LOW_CONSISTENCY_OF_IMAGE:
            warnings.append(f"{label}: its map explains only {explained:.0%} of its matches")
        if not of_surface and (coverage := _or(row["coverage"], 1.0)) < _LOW_COVERAGE:
            # Only points have a coverage without a fold-over.
            what = "map lands" if row["fold_over"] is not None else "points were found"
            warnings.append(f"{label}: only {coverage:.0%} of its {what} inside the frame")
        if (folded := _or(row["fold_over"], 0.0)) > _HIGH_FOLD_OVER:
            warnings.append(f"{label}: {folded:.0%} of its map folds over")
        if (error := _or(row["cycle_error"], 0.0)) > CYCLE_TOLERANCE:
            warnings.append(f"{label}: half of its points return more than {error:.0%} of the side away")
    return warnings


def _or(value: float | None, unknown: float) -> float:
    return unknown if value is None else value


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)
