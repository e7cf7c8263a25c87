"""What a result says about its own quality without any labels."""

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from alignment.atlas import Atlas
from alignment.forms import Form
from alignment.pairwise import PairwiseMaps
from alignment.queried_points import nearest_rows
from alignment.sampling import ImageSize, cell_centres, within

CYCLE_TOLERANCE = 0.1
_MAX_PROBES = 32
_LOW_COVERAGE = 0.25
_HIGH_FOLD_OVER = 0.1
_LOW_ALIGNMENT = 0.5
_LOW_CONSISTENCY = 0.5
_LOW_CONSISTENCY_OF_IMAGE = 0.25
_SAME_PX = 0.01
"""How far a way back may begin from where a point was found: rounding, no more."""
_UNMAPPED = {"coverage": 0.0, "fold_over": 0.0, "cycle_error": 1.0, "cycle_consistent": 0.0}
_NO_CYCLE = {"cycle_error": None, "cycle_consistent": None}
_UNKNOWN = {"coverage": None, "fold_over": None, **_NO_CYCLE}

Figures = Mapping[str, float | None]


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
        image; for pairwise maps it is image, other image, image, over all others.

        A figure that is not known is None, counts in no mean and gives no warning: fold-over of single points, cycles
        where no way leads back, and everything of an image that points, or one-way maps, only lead to. Points are
        measured by themselves: `coverage` is the share that was found inside the frame, and the cycle goes back from
        where they were found. Where maps lead both ways between some images, one to or from which none leads has the
        worst figures.
    """
    measure = _check_atlas_image if isinstance(form, Atlas) else _check_pairs_image
    rows: list[Figures] = [measure(form, index) for index in range(len(form.images))]  # type: ignore[arg-type]
    measured = (("agreement", agreement), ("alignment_score", alignment_scores), ("consistency", consistency))
    for name, values in measured:
        rows = [{**row, name: value} for row, value in zip(rows, values, strict=True)] if values else rows
    summary: dict[str, JsonValue] = {key: _rounded(value) for key, value in _means(rows).items()}
    flags: list[dict[str, JsonValue]] = [
        {"outlier": index in outliers} if alignment_scores else {} for index in range(len(rows))
    ]
    images: list[JsonValue] = [
        {**{key: _rounded(value) for key, value in row.items()}, **flag} for row, flag in zip(rows, flags, strict=True)
    ]
    labels = [f"image {index} ({name})" for index, name in enumerate(names)]
    labels = labels or [f"image {index}" for index in range(len(rows))]
    return summary | {"images": images, "warnings": [*warnings, *_warnings(rows, outliers, labels)]}


def _check_atlas_image(atlas: Atlas, index: int) -> Figures:
    size = atlas.images[index]
    probes = _probes(size)
    there = atlas.transfer(probes, source=index, target=None)
    back = atlas.transfer(there.points, source=None, target=index)
    backward = atlas.from_canonical[index]
    inside = within(backward, size.extent)
    return {
        "coverage": float(inside.mean()),
        "fold_over": fold_over(np.where(inside[..., None], backward, np.nan)),
        **_cycle(probes, back.points, size, asked=there.inside),
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
        return _means(rows)
    return _UNMAPPED if leads_back or not (pairs.maps or pairs.points) else _UNKNOWN


def _check_map(pairs: PairwiseMaps, index: int, other: int) -> Figures:
    size = pairs.images[index]
    probes = _probes(size)
    there = pairs.transfer(probes, source=index, target=other)
    row = {"coverage": float(there.inside.mean()), "fold_over": fold_over(pairs.places(index, other))}
    if pairs.has_points(index, other) or pairs.has_points(other, index):
        # Maps made of points lead back where they came from, whatever they are worth.
        return {**row, **_cycle_of_points(pairs, index, other)}
    if not pairs.has_map(other, index):
        return {**row, **_NO_CYCLE}
    back = pairs.transfer(there.points, source=other, target=index)
    return {**row, **_cycle(probes, back.points, size, asked=there.inside)}


def _check_points(pairs: PairwiseMaps, index: int, other: int) -> Figures:
    """Measure queried points; of those found, the way back begins at the very places where they were found."""
    inside = within(pairs.points[index, other][:, 2:4], pairs.images[other].extent)
    return {"coverage": float(inside.mean()), "fold_over": None, **_cycle_of_points(pairs, index, other)}


def _cycle_of_points(pairs: PairwiseMaps, index: int, other: int) -> Figures:
    if not (pairs.has_points(index, other) and pairs.has_points(other, index)):
        return _NO_CYCLE
    queried, back = np.asarray(pairs.points[index, other], dtype=np.float64), pairs.points[other, index]
    places = queried[:, 2:4]
    rows = nearest_rows(places, back, reach=_SAME_PX)
    asked = within(places, pairs.images[other].extent) & (rows >= 0)
    if not asked.any():
        return _NO_CYCLE
    ends = np.asarray(back[rows, 2:4], dtype=np.float64)
    return {**_cycle(queried[:, :2], ends, pairs.images[index], asked=asked)}


def _means(rows: Sequence[Figures]) -> Figures:
    """Return the mean of each figure over the rows that know it; None where none does."""
    known = {key: [value for row in rows if (value := row[key]) is not None] for key in rows[0]}
    return {key: float(np.mean(values)) if values else None for key, values in known.items()}


def fold_over(field: npt.NDArray[np.floating]) -> float:
    """Share of the cells of a map (h, w, 2) whose Jacobian determinant has not the sign of the majority."""
    d_x = np.diff(field, axis=1)[:-1]
    d_y = np.diff(field, axis=0)[:, :-1]
    determinant = d_x[..., 0] * d_y[..., 1] - d_x[..., 1] * d_y[..., 0]
    determinant = determinant[np.isfinite(determinant)]
    if determinant.size == 0:
        return 1.0
    positive = float((determinant > 0).mean())
    return min(positive, float((determinant < 0).mean())) + float((determinant == 0).mean())


def _probes(size: ImageSize) -> npt.NDArray[np.float64]:
    scale = _MAX_PROBES / max(size.width, size.height)
    rows, columns = max(2, round(size.height * scale)), max(2, round(size.width * scale))
    return cell_centres(rows, columns, size.extent).reshape(-1, 2)


def _cycle(
    probes: npt.NDArray[np.float64],
    back: npt.NDArray[np.float64],
    size: ImageSize,
    *,
    asked: npt.NDArray[np.bool_],
) -> dict[str, float]:
    """Compare probes (P, 2) with where they come back; those not asked (P,) do not count, those lost count as 1."""
    error = np.linalg.norm(back - probes, axis=1) / max(size.width, size.height)
    error = np.nan_to_num(error[asked], nan=1.0)
    if error.size == 0:
        return {"cycle_error": 1.0, "cycle_consistent": 0.0}
    return {
        "cycle_error": float(np.median(error)),
        "cycle_consistent": float((error <= CYCLE_TOLERANCE).mean()),
    }


def _warnings(rows: Sequence[Figures], outliers: Collection[int], labels: Sequence[str]) -> list[JsonValue]:
    means = _means(rows)
    warnings: list[JsonValue] = []
    if (aligned := _or(means.get("alignment_score"), 1.0)) < _LOW_ALIGNMENT:
        warnings.append(f"the images hardly agree (mean alignment score {aligned:.2f}); do not trust their maps")
    if (explained := _or(means.get("consistency"), 1.0)) < _LOW_CONSISTENCY:
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
        if (coverage := _or(row["coverage"], 1.0)) < _LOW_COVERAGE:
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
