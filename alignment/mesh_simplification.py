"""Fewer faces for the same look: quadric simplification, with colours and texture carried over.

The collapses are those of Garland and Heckbert, Surface Simplification Using Quadric Error Metrics (1997), as
`fast_simplification` has them. They know of places only, so afterwards every corner looks up what the nearest original
face says there: of colours the nearest one, of a texture the nearest in the chart (the piece of the texture that hangs
together) to which the corner's face belongs, so that no face stretches over a seam.
"""

from typing import Final

import fast_simplification
import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from alignment.mesh import Mesh
from alignment.mesh_cleaning import distinct_rows, with_area
from alignment.mesh_limits import MeshFault, MeshFileError
from alignment.mesh_textures import Surface

_AGGRESSIVENESS: Final = (7.0, 10.0, 10.0)
"""Of one pass after the other; one is enough unless the mesh is in many loose pieces."""
_CANDIDATES = 8
_SHRINKAGE = 0.05
"""By how much of its diagonal the box around a mesh may change."""
_REACH = 1.0
"""How far beyond a face, in its own size, it speaks for the texture."""

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]


def simplified(mesh: Mesh, faces: int) -> Surface:
    """Return a mesh's surface with at most so many faces.

    Raises:
        MeshFileError: it cannot be brought so far down without falling apart.
    """
    kept, place = distinct_rows(mesh.vertices)
    vertices: Float = mesh.vertices[kept].astype(np.float64)
    # The collapses measure errors absolutely, so the size of the mesh must not matter.
    centre, size = vertices.mean(axis=0), float(np.ptp(vertices, axis=0).max())
    points, triangles = (vertices - centre) / size, place[mesh.faces].astype(np.int32)
    for aggressiveness in _AGGRESSIVENESS:
        if len(triangles) > faces:
            points, triangles = fast_simplification.simplify(points, triangles, target_count=faces, agg=aggressiveness)
    found = with_area(points.astype(np.float32), triangles)
    if len(found) > faces or len(found) == 0 or _has_shrunk(mesh, points * size + centre, found):
        detail = (
            f"it cannot be simplified from {len(mesh.faces)} faces to {faces} without losing parts, because it is in "
            "many loose pieces; simplify it before"
        )
        raise MeshFileError(MeshFault.TOO_LARGE, "too-many-faces", detail)
    return _dressed(mesh, points * size + centre, found)


def _has_shrunk(mesh: Mesh, vertices: Float, faces: Int) -> bool:
    """Tell whether the box around the faces is another than that of the mesh: loose pieces vanish one by one."""
    corners = vertices[faces].reshape(-1, 3)
    moved = np.abs(np.stack([corners.min(axis=0), corners.max(axis=0)]) - mesh.bounds)
    return bool(moved.max() > _SHRINKAGE * np.linalg.norm(np.ptp(mesh.bounds, axis=0)))


def _dressed(mesh: Mesh, vertices: Float, faces: Int) -> Surface:
    if mesh.uv is not None:
        return _textured(mesh, mesh.uv.astype(np.float64), vertices, faces)
    if mesh.colours is None:
        return Surface(vertices, faces)
    nearest, weights = _look_up(mesh, np.arange(len(mesh.faces)), vertices, reach=0.0)
    colours = np.einsum("pk,pkc->pc", weights, mesh.colours[mesh.faces[nearest]].astype(np.float64))
    return Surface(vertices, faces, colours=np.rint(np.clip(colours, 0, 255)).astype(np.uint8))


def _textured(mesh: Mesh, uv: Float, vertices: Float, faces: Int) -> Surface:
    charts = _charts(mesh)
    centres = vertices[faces].mean(axis=1)
    nearest, _ = _look_up(mesh, np.arange(len(mesh.faces)), centres, reach=0.0)
    corners = np.stack([faces.reshape(-1), np.repeat(charts[nearest], 3)], axis=1)
    unique, inverse = np.unique(corners, axis=0, return_inverse=True)
    places = np.empty((len(unique), 2))
    for chart in np.unique(unique[:, 1]):
        rows = np.flatnonzero(unique[:, 1] == chart)
        found, weights = _look_up(mesh, np.flatnonzero(charts == chart), vertices[unique[rows, 0]], reach=_REACH)
        places[rows] = np.einsum("pk,pkc->pc", weights, uv[mesh.faces[found]])
    return Surface(vertices[unique[:, 0]], inverse.reshape(-1, 3), np.clip(places, 0, 1), mesh.texture)


def _charts(mesh: Mesh) -> Int:
    """Return for each face (F,) which piece of the texture it belongs to: faces that share vertices share a piece."""
    rows, columns = mesh.faces[:, [0, 1]].reshape(-1), mesh.faces[:, [1, 2]].reshape(-1)
    count = len(mesh.vertices)
    graph = coo_matrix((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(count, count))
    labels: Int = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels[mesh.faces[:, 0]]


def _look_up(mesh: Mesh, faces: Int, points: Float, *, reach: float) -> tuple[Int, Float]:
    """Find for points (P, 3) the nearest of some faces (F,), and the weights (P, 3) of its corners there.

    Weights lie in [-reach, 1 + reach] and sum to 1.
    """
    corners = mesh.vertices.astype(np.float64)[mesh.faces[faces]]
    count = min(_CANDIDATES, len(faces))
    _, near = cKDTree(corners.mean(axis=1)).query(points, k=count)
    near = near.reshape(len(points), count)
    weights = np.empty((*near.shape, 3))
    distance = np.empty(near.shape)
    for candidate in range(count):
        triangle = corners[near[:, candidate]]
        within = _clamped(_barycentric(triangle, points), 0.0)
        distance[:, candidate] = np.linalg.norm(np.einsum("pk,pkc->pc", within, triangle) - points, axis=1)
        weights[:, candidate] = _clamped(_barycentric(triangle, points), reach)
    best = distance.argmin(axis=1)
    each = np.arange(len(points))
    return faces[near[each, best]], weights[each, best]


def _barycentric(triangles: Float, points: Float) -> Float:
    """Return weights (P, 3) of the corners of triangles (P, 3, 3) at the feet of points (P, 3) on their planes."""
    first, second = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    offset = points - triangles[:, 0]
    aa, ab, bb = (first**2).sum(1), (first * second).sum(1), (second**2).sum(1)
    pa, pb = (offset * first).sum(1), (offset * second).sum(1)
    scale = np.maximum(aa * bb - ab**2, np.finfo(np.float64).tiny)
    v, w = (bb * pa - ab * pb) / scale, (aa * pb - ab * pa) / scale
    return np.stack([1 - v - w, v, w], axis=1)


def _clamped(weights: Float, reach: float) -> Float:
    held = np.clip(weights, -reach, 1 + reach)
    total = held.sum(axis=1, keepdims=True)
    is_sound = np.abs(total) > 0.5
    return np.where(is_sound, held / np.where(is_sound, total, 1), 1 / 3)
