"""What a shape says about its own quality without any labels; see `alignment.self_check`."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from alignment.map_figures import NO_CYCLE, Figures, cycle_figures, fold_over, means
from alignment.shape import Shape

_SURFACE_POINTS = 4096
_IMAGE_POINTS = 1024
_OFF_CENTRE = 0.3
"""Cells from a cell's centre at which it is probed: at the centre itself every map is led back exactly."""
_LOW_SURFACE = 0.5
_LOW_SURFACE_OF_IMAGE = 0.05
_NOTHING: Figures = {"coverage": 0.0, "fold_over": None, **NO_CYCLE, "lift_error_px": None, "lift_error_p90_px": None}


def check_shape(shape: Shape) -> tuple[list[Figures], dict[str, JsonValue]]:
    """Measure every image, and the shape as a whole.

    Returns:
        Per image `coverage` (share of the surface, by texels, that it shows), `fold_over` (of the warp between it and
        the shape as its camera sees it), `lift_error_px` and `lift_error_p90_px` (median and 90th percentile of the
        distance, in pixels, between points of the object and where they end after a way to space and back),
        `cycle_error` and `cycle_consistent` (of the way image, other image, image, for points that the other image
        shows, over all others). And for the whole `surface_seen`, the share of the surface that at least one image
        shows, and `without_pose`, the indices of images of which no pose was found.
    """
    known = shape.texels[np.isfinite(shape.texels).all(axis=2)]
    surface = known[:: max(1, len(known) // _SURFACE_POINTS)]
    frames = range(len(shape.images))
    seen: npt.NDArray[np.bool_] = np.stack([shape.project(surface, target=index).visible for index in frames])
    rows = [_row(shape, index, _share(seen[index])) for index in frames]
    lost: list[JsonValue] = [index for index, camera in enumerate(shape.cameras) if camera is None]
    return rows, {"surface_seen": round(_share(np.asarray(seen.any(axis=0))), 5), "without_pose": lost}


def warn_of_surface(rows: Sequence[Figures], summary: dict[str, JsonValue], labels: Sequence[str]) -> list[JsonValue]:
    """Say in words what is missing."""
    warnings: list[JsonValue] = []
    seen, lost = summary["surface_seen"], summary["without_pose"]
    assert isinstance(seen, float)
    assert isinstance(lost, list)
    if seen < _LOW_SURFACE:
        warnings.append(f"the images show only {seen:.0%} of the surface: no place of the rest is known in any image")
    for index, (label, row) in enumerate(zip(labels, rows, strict=True)):
        coverage = row["coverage"]
        if index in lost:
            warnings.append(f"{label}: no pose was found; it has no camera and corresponds to nothing")
        elif coverage is not None and coverage < _LOW_SURFACE_OF_IMAGE:
            warnings.append(f"{label}: shows only {coverage:.0%} of the surface")
    return warnings


def _row(shape: Shape, index: int, coverage: float) -> Figures:
    probes = _probes(shape, index)
    if not len(probes):
        return {**_NOTHING, "coverage": coverage}
    back = shape.project(shape.lift(probes, source=index).points, target=index)
    errors = np.linalg.norm(back.points - probes, axis=1)
    errors = errors[np.isfinite(errors)]
    median, ninetieth = (float(np.percentile(errors, share)) if errors.size else None for share in (50, 90))
    return {
        "coverage": coverage,
        "fold_over": _fold_over(shape, index),
        **_cycles(shape, index, probes),
        "lift_error_px": median,
        "lift_error_p90_px": ninetieth,
    }


def _probes(shape: Shape, index: int) -> npt.NDArray[np.float64]:
    """Pixels (P, 2) of the object, evenly spread."""
    field = shape.coordinates[index]
    cells = np.argwhere(np.isfinite(field).all(axis=2))[:, ::-1]
    cells = cells[:: max(1, len(cells) // _IMAGE_POINTS)]
    places = (cells + 0.5 + _OFF_CENTRE) / (field.shape[1], field.shape[0]) * shape.images[index].extent
    return places[np.isfinite(shape.lift(places, source=index).points).all(axis=1)]


def _fold_over(shape: Shape, index: int) -> float | None:
    """Share of the cells in which the warp from the image to the shape, as its camera sees it, is turned over."""
    camera, field = shape.cameras[index], shape.coordinates[index]
    if camera is None:
        return None
    seen = camera.project(field.reshape(-1, 3), shape.images[index])[0]
    return fold_over(seen.reshape(*field.shape[:2], 2))


def _cycles(shape: Shape, index: int, probes: npt.NDArray[np.float64]) -> Figures:
    rows = []
    for other in range(len(shape.images)):
        there = shape.transfer(probes, source=index, target=other)
        if other != index and there.inside.any():
            back = shape.transfer(there.points, source=other, target=index)
            rows.append(cycle_figures(probes, back.points, shape.images[index], asked=there.inside))
    return means(rows) if rows else NO_CYCLE


def _share(holds: npt.NDArray[np.bool_]) -> float:
    return float(holds.mean()) if holds.size else 0.0
