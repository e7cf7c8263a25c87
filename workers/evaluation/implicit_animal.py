"""The template of a made-up kind of four-legged animal: ellipsoids and cones that melt into one closed surface.

Its units: the trunk's middle is the origin, x towards the head, y up, z to the animal's right; about 1.4 long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from skimage.measure import marching_cubes

from alignment.mesh import Mesh

Float64 = npt.NDArray[np.float64]
Point = tuple[float, float, float]
Field = Callable[[Float64], Float64]

_MARGIN = 0.06
_RELAXATIONS = 4
_NUDGE = 1e-3


@dataclass(frozen=True)
class Ellipsoid:
    """With half axes `radii` along x, y and z, tilted by `tilt_deg` about x (the top goes towards +z)."""

    centre: Point
    radii: Point
    tilt_deg: float = 0.0

    def distance(self, points: Float64) -> Float64:
        """About the distance (P,) of points (P, 3), negative inside (Inigo Quilez, "Ellipsoid SDF")."""
        away = points - self.centre
        cosine, sine = np.cos(np.radians(self.tilt_deg)), np.sin(np.radians(self.tilt_deg))
        along = np.stack(
            [away[:, 0], cosine * away[:, 1] + sine * away[:, 2], cosine * away[:, 2] - sine * away[:, 1]], axis=1
        )
        unit = along / self.radii
        length = np.linalg.norm(unit, axis=1)
        found: Float64 = length * (length - 1) / np.maximum(np.linalg.norm(unit / self.radii, axis=1), 1e-9)
        return found


@dataclass(frozen=True)
class Cone:
    """From a ball of one radius to a ball of another."""

    start: Point
    end: Point
    radii: tuple[float, float]

    def distance(self, points: Float64) -> Float64:
        """About the distance (P,) of points (P, 3), negative inside."""
        axis = np.subtract(self.end, self.start)
        share = (((points - self.start) @ axis) / (axis @ axis)).clip(0, 1)
        radius = self.radii[0] + (self.radii[1] - self.radii[0]) * share
        found: Float64 = np.linalg.norm(points - self.start - share[:, None] * axis, axis=1) - radius
        return found


def _legs() -> tuple[Ellipsoid | Cone, ...]:
    parts: list[Ellipsoid | Cone] = []
    for side in (-1, 1):
        parts += [
            Cone((0.25, -0.06, 0.085 * side), (0.235, -0.30, 0.095 * side), (0.085, 0.052)),
            Cone((0.235, -0.30, 0.095 * side), (0.245, -0.50, 0.095 * side), (0.050, 0.040)),
            Ellipsoid((0.262, -0.515, 0.095 * side), (0.062, 0.035, 0.050)),
            Cone((-0.27, -0.03, 0.085 * side), (-0.235, -0.27, 0.095 * side), (0.105, 0.055)),
            Cone((-0.235, -0.27, 0.095 * side), (-0.285, -0.50, 0.095 * side), (0.052, 0.040)),
            Ellipsoid((-0.268, -0.515, 0.095 * side), (0.062, 0.035, 0.050)),
        ]
    return tuple(parts)


PARTS: tuple[Ellipsoid | Cone, ...] = (
    Ellipsoid((0.0, 0.0, 0.0), (0.38, 0.165, 0.145)),
    Ellipsoid((0.21, 0.01, 0.0), (0.18, 0.19, 0.150)),
    Ellipsoid((-0.25, 0.02, 0.0), (0.17, 0.18, 0.150)),
    Cone((0.29, 0.08, 0.0), (0.455, 0.315, 0.0), (0.115, 0.075)),
    Ellipsoid((0.51, 0.345, 0.0), (0.115, 0.095, 0.088)),
    Cone((0.57, 0.335, 0.0), (0.685, 0.275, 0.0), (0.068, 0.045)),
    Ellipsoid((0.455, 0.455, -0.070), (0.026, 0.085, 0.040), -22.0),
    Ellipsoid((0.450, 0.420, 0.095), (0.026, 0.078, 0.040), 72.0),
    Cone((-0.39, 0.09, 0.0), (-0.50, 0.13, 0.0), (0.050, 0.034)),
    Cone((-0.50, 0.13, 0.0), (-0.60, 0.03, 0.0), (0.034, 0.030)),
    Cone((-0.60, 0.03, 0.0), (-0.635, -0.12, 0.0), (0.030, 0.042)),
    *_legs(),
)
"""The ears differ: the right one hangs."""

EYES: tuple[Point, Point] = ((0.565, 0.375, -0.074), (0.565, 0.375, 0.074))


def melted(parts: tuple[Ellipsoid | Cone, ...], softness: float) -> Field:
    """Return the field of a union whose seams are rounded by about `softness`; negative inside."""

    def field(points: Float64) -> Float64:
        distances = np.stack([part.distance(points) for part in parts])
        nearest = distances.min(axis=0)
        found: Float64 = nearest - softness * np.log(np.exp((nearest - distances) / softness).sum(axis=0))
        return found

    return field


def surface_of(field: Field, low: Point, high: Point, step: float) -> Mesh:
    """Mesh the surface where a field is 0, with even triangles of about `step` a side.

    Args:
        field: points (P, 3) to about distances (P,), negative inside.
        low, high: corners of a box that holds the surface.
        step: side of the cells of marching cubes (Lorensen and Cline, 1987).
    """
    start = np.asarray(low) - _MARGIN
    counts = np.ceil((np.asarray(high) + _MARGIN - start) / step).astype(int)
    axes = [start[i] + step * np.arange(counts[i]) for i in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    values = field(grid.reshape(-1, 3)).reshape(grid.shape[:3])
    vertices, faces, _, _ = marching_cubes(  # type: ignore[no-untyped-call]
        -values, 0.0, spacing=(step, step, step), allow_degenerate=False
    )
    vertices, faces = vertices.astype(np.float64) + start, faces[:, ::-1].astype(np.int32)
    neighbours = _mean_of_neighbours(faces, len(vertices))
    for _ in range(_RELAXATIONS):
        vertices = _dropped(field, (vertices + neighbours @ vertices) / 2)
    return Mesh(_dropped(field, vertices).astype(np.float32), faces)


def _mean_of_neighbours(faces: npt.NDArray[np.int32], count: int) -> csr_array:
    """Matrix (count, count) that averages the vertices round each."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    both = np.concatenate([edges, edges[:, ::-1]])
    links = csr_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(count, count))
    links.data[:] = 1.0
    return csr_array(links.multiply(1 / links.sum(axis=1)[:, None]))


def _dropped(field: Field, points: Float64) -> Float64:
    """Move points (P, 3) to the surface by a Newton step along the field's slope."""
    value = field(points)
    slope = np.stack([(field(points + step) - value) / _NUDGE for step in _NUDGE * np.eye(3)], axis=1)
    moved: Float64 = points - value[:, None] * slope / np.maximum((slope**2).sum(axis=1, keepdims=True), 1e-6)
    return moved
