"""What a result says about its own quality without any labels."""

from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from alignment.atlas import Atlas
from alignment.forms import Form
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize, cell_centres, within

CYCLE_TOLERANCE = 0.1
_MAX_PROBES = 32
_LOW_COVERAGE = 0.25
_HIGH_FOLD_OVER = 0.1
_LOW_ALIGNMENT = 0.5
_LOW_CONSISTENCY = 0.5
_LOW_CONSISTENCY_OF_IMAGE = 0.25
_UNMAPPED = {"coverage": 0.0, "fold_over": 0.0, "cycle_error": 1.0, "cycle_consistent": 0.0}


def self_check(
    form: Form,
    *,
    agreement: Sequence[float] = (),
    alignment_scores: Sequence[float] = (),
    consistency: Sequence[float] = (),
    outliers: Collection[int] = (),
    names: Sequence[str] = (),
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

    Returns:
        Means over the images of `coverage` (share of cells with a correspondence inside its frame), `fold_over` (share
        of mapped cells whose orientation differs from the majority), `cycle_error` (median distance after a way there
        and back, as a share of the longer side), `cycle_consistent` (share of probes that return within 0.1 of the
        longer side) and, if measured, `agreement`, `alignment_score` and `consistency`; `images` with the same per
        image, with `outlier` where there are alignment scores, and `warnings`. For an atlas the way is image, atlas,
        image; for pairwise maps it is image, other image, image, over all others.
    """
    measure = _check_atlas_image if isinstance(form, Atlas) else _check_pairs_image
    rows = [measure(form, index) for index in range(len(form.images))]  # type: ignore[arg-type]
    measured = (("agreement", agreement), ("alignment_score", alignment_scores), ("consistency", consistency))
    for name, values in measured:
        rows = [row | {name: value} for row, value in zip(rows, values, strict=True)] if values else rows
    summary: dict[str, JsonValue] = {key: _rounded(np.mean([row[key] for row in rows])) for key in rows[0]}
    flags: list[dict[str, JsonValue]] = [
        {"outlier": index in outliers} if alignment_scores else {} for index in range(len(rows))
    ]
    images: list[JsonValue] = [
        {**{key: _rounded(value) for key, value in row.items()}, **flag} for row, flag in zip(rows, flags, strict=True)
    ]
    labels = [f"image {index} ({name})" for index, name in enumerate(names)]
    labels = labels or [f"image {index}" for index in range(len(rows))]
    return summary | {"images": images, "warnings": _warnings(rows, outliers, labels)}


def _check_atlas_image(atlas: Atlas, index: int) -> dict[str, float]:
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


def _check_pairs_image(pairs: PairwiseMaps, index: int) -> dict[str, float]:
    size = pairs.images[index]
    probes = _probes(size)
    rows = []
    for other in (other for (source, other) in pairs.maps if source == index and pairs.has(other, source)):
        there = pairs.transfer(probes, source=index, target=other)
        back = pairs.transfer(there.points, source=other, target=index)
        row = {"coverage": float(there.inside.mean()), "fold_over": fold_over(pairs.places(index, other))}
        rows.append(row | _cycle(probes, back.points, size, asked=there.inside))
    if not rows:
        return _UNMAPPED
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


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


def _warnings(rows: list[dict[str, float]], outliers: Collection[int], labels: Sequence[str]) -> list[JsonValue]:
    aligned, explained = (
        float(np.mean([row.get(name, 1.0) for row in rows])) for name in ("alignment_score", "consistency")
    )
    warnings: list[JsonValue] = []
    if aligned < _LOW_ALIGNMENT:
        warnings.append(f"the images hardly agree (mean alignment score {aligned:.2f}); do not trust their maps")
    if explained < _LOW_CONSISTENCY:
        warnings.append(
            f"the maps explain only {explained:.0%} of the matches that pairs of images agree on; do not trust them"
        )
    warnings += [
        f"{labels[index]}: agrees far less with the others than they do; it may not belong to the set"
        for index in sorted(outliers)
    ]
    for label, row in zip(labels, rows, strict=True):
        if row.get("consistency", 1.0) < _LOW_CONSISTENCY_OF_IMAGE:
            warnings.append(f"{label}: its map explains only {row['consistency']:.0%} of its matches")
        if row["coverage"] < _LOW_COVERAGE:
            warnings.append(f"{label}: only {row['coverage']:.0%} of its map lands inside the frame")
        if row["fold_over"] > _HIGH_FOLD_OVER:
            warnings.append(f"{label}: {row['fold_over']:.0%} of its map folds over")
        if row["cycle_error"] > CYCLE_TOLERANCE:
            warnings.append(f"{label}: half of its points return more than {row['cycle_error']:.0%} of the side away")
    return warnings


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 5)
