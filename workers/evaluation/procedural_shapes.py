"""Solid shapes whose correspondences are known: animals of one made-up kind, and a bench that looks the same turned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from alignment.mesh import Mesh
from workers.evaluation.animal_coats import coat_of
from workers.evaluation.implicit_animal import PARTS, Ellipsoid, melted, surface_of
from workers.evaluation.styles import rgb

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Paint = Callable[[Float64], Float32]

RADIUS = 0.5
"""Of the farthest vertex from the middle of a shape's box."""
_STEP = 0.030
_SEAM = 0.014
_LOW, _HIGH = (-0.70, -0.56, -0.24), (0.75, 0.56, 0.24)


@dataclass(frozen=True)
class ProceduralShape:
    """A closed mesh in the canonical frame, and what is known of its V vertices.

    Attributes:
        mesh: with the colours of `paint`.
        places: (V, 3), the same part's place on the category's template.
        likeness: (V, 3) within 0.5 of the origin, codes that are near where parts look alike. Equal to `places` but for
            shapes whose parts look the same as others.
        paint: places (P, 3) to colours (P, 3) in [0, 1], finer than those of the mesh.
    """

    mesh: Mesh
    places: Float32
    likeness: Float32
    paint: Paint


@dataclass(frozen=True)
class Build:
    """How an animal differs from the template; factors of lengths, angles in degrees."""

    legs: float = 1.0
    trunk: float = 1.0
    head: float = 1.0
    snout: float = 1.0
    neck_deg: float = 0.0
    tail_deg: float = 0.0
    bend_deg: float = 0.0
    stride_deg: float = 0.0


@cache
def animal(instance: int, variation: float = 1.0) -> ProceduralShape:
    """Make an animal; the same arguments give the same one.

    All have the faces of number 0, the template, and vertex i is the same part of each. They are asymmetric: the right
    ear hangs, and the flanks are marked differently.

    Args:
        instance: from 0.
        variation: how much its build differs from the template's, in [0, 1]: at 1 legs are up to 1.4 times as long
            and the body bends by up to 22 degrees.

    Raises:
        ValueError: `instance` is negative, or `variation` outside [0, 1].
    """
    if instance < 0:
        raise ValueError(f"animal {instance} does not exist; number them from 0")
    if not 0 <= variation <= 1:
        raise ValueError(f"variation {variation} is outside [0, 1]")
    own, centre, scale = _template()
    template = _fitted(own.vertices.astype(np.float64))
    shape = (
        template if instance == 0 else _fitted(_built(own.vertices.astype(np.float64), _build_of(instance, variation)))
    )
    coat = coat_of(instance)

    def paint(places: Float64) -> Float32:
        return coat(places / scale + centre)

    places = template.astype(np.float32)
    mesh = Mesh(shape.astype(np.float32), own.faces, colours=_bytes(paint(places.astype(np.float64))))
    return ProceduralShape(mesh, places, places, paint)


@cache
def bench(asymmetry: float = 0.0) -> ProceduralShape:
    """Make a bench that looks the same after half a turn about y.

    Args:
        asymmetry: in [0, 1], how much parts half a turn apart differ in likeness: 0 not at all, 1 as their places.

    Raises:
        ValueError: `asymmetry` is outside [0, 1].
    """
    if not 0 <= asymmetry <= 1:
        raise ValueError(f"asymmetry {asymmetry} is outside [0, 1]")
    slabs = [Ellipsoid((0.0, 0.0, 0.0), (0.56, 0.05, 0.17))]
    for x, z in ((0.36, 0.09), (-0.36, 0.09), (0.36, -0.09), (-0.36, -0.09)):
        slabs.append(Ellipsoid((x, -0.17, z), (0.05, 0.20, 0.05)))
    for x, z in ((0.40, 0.11), (-0.40, -0.11)):
        slabs.append(Ellipsoid((x, 0.12, z), (0.13, 0.17, 0.045)))
    mesh = surface_of(melted(tuple(slabs), 0.012), (-0.58, -0.4, -0.24), (0.58, 0.32, 0.24), 0.026)
    places = _fitted(mesh.vertices.astype(np.float64))
    likeness = (1 - asymmetry) * _same_after_half_a_turn(places) + asymmetry * places

    def paint(points: Float64) -> Float32:
        grain = np.cos(60 * points[:, 1] + 9 * np.cos(7 * _same_after_half_a_turn(points)[:, 0]))
        height = ((points[:, 1] + 0.3) / 0.6).clip(0, 1)[:, None]
        wood = (rgb("8a5a33") * (1 - height) + rgb("d9a866") * height) * (1 + 0.08 * grain[:, None])
        painted = points[:, :1] * asymmetry * np.array([0.3, -0.1, -0.3])
        colours: Float32 = (wood + painted).clip(0, 1).astype(np.float32)
        return colours

    solid = Mesh(places.astype(np.float32), mesh.faces, colours=_bytes(paint(places)))
    return ProceduralShape(solid, places.astype(np.float32), likeness.astype(np.float32), paint)


@cache
def _template() -> tuple[Mesh, Float64, float]:
    """Return the template in its own units, the middle of its box, and the scale to the canonical frame."""
    mesh = surface_of(melted(PARTS, _SEAM), _LOW, _HIGH, _STEP)
    centre = (mesh.bounds.sum(axis=0) / 2).astype(np.float64)
    return mesh, centre, RADIUS / float(np.linalg.norm(mesh.vertices - centre, axis=1).max())


def _fitted(vertices: Float64) -> Float64:
    """Centre on the box and scale to `RADIUS`."""
    centred = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    fitted: Float64 = centred * (RADIUS / np.linalg.norm(centred, axis=1).max())
    return fitted


def _bytes(colours: Float32) -> npt.NDArray[np.uint8]:
    return (colours * 255).round().astype(np.uint8)


def _same_after_half_a_turn(places: Float64) -> Float64:
    """Places (P, 3) whose angle about y is doubled, so that those half a turn apart fall together."""
    plane = places[:, 0] + 1j * places[:, 2]
    turned = plane**2 / np.maximum(np.abs(plane), 1e-9)
    return np.stack([turned.real, places[:, 1], turned.imag], axis=1)


def _build_of(instance: int, variation: float) -> Build:
    rng = np.random.default_rng([5, instance])
    factors = rng.uniform((0.75, 0.85, 0.9, 0.8), (1.4, 1.25, 1.35, 1.3))
    angles = rng.uniform(-1, 1, 4) * (16, 35, 22, 11) - (4, 0, 0, 0)
    return Build(*(1 + variation * (factors - 1)), *(variation * angles))


def _built(own: Float64, build: Build) -> Float64:
    """Deform vertices of the template in its own units; weights depend on where they lie on the template."""
    x, y, z = own.T
    moved = own.copy()
    moved[:, 2] *= 1 + (build.trunk - 1) * _rise(x, 0.45, 0.30)
    moved[:, 1] += (build.trunk - 1) * _rise(x, 0.45, 0.30) * 0.18 * np.tanh(y / 0.18)
    drop = _soft(-0.17 - y, 0.04)
    stride = np.tan(np.radians(build.stride_deg)) * np.tanh(x / 0.06) * np.tanh(z / 0.04)
    moved[:, 0] += stride * drop
    moved[:, 1] -= (build.legs - 1) * drop
    along_neck = (x - 0.30) * 0.6 + (y - 0.08) * 0.8
    moved[:, 0] += (build.snout - 1) * _soft(x - 0.60, 0.02)
    joint = np.array([0.44, 0.28, 0.0])
    moved += (build.head - 1) * _rise(along_neck, 0.16, 0.34)[:, None] * (moved - joint)
    moved = _turned(moved, (0.30, 0.06), build.neck_deg * _rise(along_neck, 0.0, 0.32))
    moved = _turned(moved, (-0.40, 0.08), build.tail_deg * _rise(-x, 0.40, 0.54))
    return _bent(moved, np.radians(build.bend_deg))


def _turned(points: Float64, pivot: tuple[float, float], angle_deg: Float64) -> Float64:
    """Turn each point about an axis along z, towards +y from +x."""
    cosine, sine = np.cos(np.radians(angle_deg)), np.sin(np.radians(angle_deg))
    x, y = points[:, 0] - pivot[0], points[:, 1] - pivot[1]
    return np.stack([pivot[0] + cosine * x - sine * y, pivot[1] + sine * x + cosine * y, points[:, 2]], axis=1)


def _bent(points: Float64, curvature: float) -> Float64:
    """Bend the x axis into an arc in the plane of x and z."""
    if abs(curvature) < 1e-6:
        return points
    angle = curvature * points[:, 0]
    radius = 1 / curvature - points[:, 2]
    return np.stack([radius * np.sin(angle), points[:, 1], 1 / curvature - radius * np.cos(angle)], axis=1)


def _rise(value: Float64, start: float, end: float) -> Float64:
    """0 up to `start`, 1 from `end` on, smooth in between; `end` may be the smaller."""
    share = ((value - start) / (end - start)).clip(0, 1)
    found: Float64 = share**2 * (3 - 2 * share)
    return found


def _soft(value: Float64, softness: float) -> Float64:
    """Smooth max(value, 0)."""
    found: Float64 = softness * np.logaddexp(0, value / softness)
    return found
