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


def self_check(form: Form, *, agreement: Sequence[float] = (), outliers: Collection[int] = ()) -> dict[str, JsonValue]:
    """Score cycle consistency, coverage and fold-over of every image's maps.

    The cycles of an atlas close whether or not it is right; `agreement` is the figure that falls when it is not.

    Args:
        form: the result.
        agreement: per image how alike its aligned features are to the others', in [-1, 1]; empty when not measured.
        outliers: indices of images that agree far less with the others than they do.

    Returns:
        Means over the images of `coverage` (share of cells with a correspondence inside its frame), `fold_over` (share
        of mapped cells whose orientation differs from the majority), `cycle_error` (median distance after a way there
        and back, as a share of the longer side), `cycle_consistent` (share of probes that return within 0.1 of the
        longer side) and `agreement` if measured; `images` with the same per image, and `warnings`. For an atlas the way
        is image, atlas, image; for pairwise maps it is image, other image, image, over all others.
    """
    measure = _check_atlas_image if isinstance(form, Atlas) else _check_pairs_image
    rows = [measure(form, index) for index in range(len(form.images))]  # type: ignore[arg-type]
    rows = [row | {"agreement": value} for row, value in zip(rows, agreement, strict=True)] if agreement else rows
    summary: dict[str, JsonValue] = {key: _rounded(np.mean([row[key] for row in rows])) for key in rows[0]}
    images: list[JsonValue] = [{key: _rounded(value) for key, value in row.items()} for row in rows]
    return summary | {"images": images, "warnings": _warnings(rows, outliers)}


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
    for other in set(range(len(pairs.images))) - {index}:
        there = pairs.transfer(probes, source=index, target=other)
        back = pairs.transfer(there.points, source=other, target=index)
        row = {"coverage": float(there.inside.mean()), "fold_over": fold_over(pairs.maps[index, other])}
        rows.append(row | _cycle(probes, back.points, size, asked=there.inside))
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


def _warnings(rows: list[dict[str, float]], outliers: Collection[int]) -> list[JsonValue]:
    warnings: list[JsonValue] = [
        f"image {index}: agrees far less with the others than they do; it may not belong to the set"
        for index in sorted(outliers)
    ]
    for index, row in enumerate(rows):
        if row["coverage"] < _LOW_COVERAGE:
            warnings.append(f"image {index}: only {row['coverage']:.0%} of its map lands inside the frame")
        if row["fold_over"] > _HIGH_FOLD_OVER:
            warnings.append(f"image {index}: {row['fold_over']:.0%} of its map folds over")
        if row["cycle_error"] > CYCLE_TOLERANCE:
            warnings.append(
                f"image {index}: half of its points return more than {row['cycle_error']:.0%} of the side away"
            )
    return warnings


def _rounded(value: float | np.floating) -> float:
    return round(float(value), 5)
