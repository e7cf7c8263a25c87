"""Figures of single maps: how often they fold over, and how far ways there and back end from where they began."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from alignment.sampling import ImageSize, cell_centres

CYCLE_TOLERANCE = 0.1
"""Share of the longer side within which a point returns."""
_MAX_PROBES = 32

Figures = Mapping[str, float | None]
NO_CYCLE: Figures = {"cycle_error": None, "cycle_consistent": None}


def means(rows: Sequence[Figures]) -> Figures:
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


def probes_of(size: ImageSize) -> npt.NDArray[np.float64]:
    """Pixels (P, 2) all over an image."""
    scale = _MAX_PROBES / max(size.width, size.height)
    rows, columns = max(2, round(size.height * scale)), max(2, round(size.width * scale))
    return cell_centres(rows, columns, size.extent).reshape(-1, 2)


def cycle_figures(
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
