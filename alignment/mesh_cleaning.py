"""Make a surface sound: finite, of faces with area, of no vertex that says what another says."""

import numpy as np
import numpy.typing as npt

from alignment.mesh import Mesh
from alignment.mesh_limits import MeshFault, MeshFileError
from alignment.mesh_textures import Surface

_LEAST_AREA = 1e-12
"""Of a face, as a share of the squared diagonal of the box around all vertices."""


def cleaned(surface: Surface) -> tuple[Mesh, int]:
    """Return a surface without faces of no area and with equal vertices joined; what differs in uv or colour stays.

    Returns:
        The mesh, and how many faces were dropped.

    Raises:
        MeshFileError: vertices are not finite or too large for float32, or no face has any area.
    """
    with np.errstate(over="ignore"):
        vertices = surface.vertices.astype(np.float32)
    used = np.zeros(len(vertices), dtype=bool)
    used[surface.faces] = True
    bad = np.flatnonzero(used & ~np.isfinite(vertices).all(axis=1))
    if bad.size:
        place = np.array2string(surface.vertices[bad[0]], precision=4)
        detail = f"{bad.size} of its vertices are not finite, the first at {place}; export it again"
        raise MeshFileError(MeshFault.DAMAGED, "not-finite", detail)
    faces = with_area(vertices, surface.faces)
    if len(faces) == 0:
        detail = f"none of its {len(surface.faces)} faces has any area; export a mesh with a surface"
        raise MeshFileError(MeshFault.EMPTY, "no-area", detail)
    return _welded(vertices, faces, surface), len(surface.faces) - len(faces)


def with_area(vertices: npt.NDArray[np.float32], faces: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return the faces (F, 3) that have an area; in a box of no extent none has."""
    corners = vertices.astype(np.float64)[faces]
    used = corners.reshape(-1, 3)
    squared = float(((used.max(axis=0) - used.min(axis=0)) ** 2).sum()) if len(used) else 0.0
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    kept: npt.NDArray[np.int64] = faces[(area > _LEAST_AREA * squared) & (area > 0)].astype(np.int64)
    return kept


def is_watertight(mesh: Mesh) -> bool:
    """Tell whether every edge, by the places of its ends, lies between exactly two faces."""
    _, place = distinct_rows(mesh.vertices)
    faces = place[mesh.faces]
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    _, counts = np.unique(edges[:, 0] * len(mesh.vertices) + edges[:, 1], return_counts=True)
    return bool((counts == 2).all())


def distinct_rows(rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the first index of each distinct row of (N, C) in the order of rows, and for each row which that is."""
    # Adding zero makes the two zeros of floating point one.
    packed = np.ascontiguousarray(rows + np.float32(0)).view(np.dtype((np.void, rows.shape[1] * 4))).reshape(-1)
    _, first, inverse = np.unique(packed, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse]


def _welded(vertices: npt.NDArray[np.float32], faces: npt.NDArray[np.int64], surface: Surface) -> Mesh:
    uv = None if surface.uv is None else surface.uv.astype(np.float32)
    attributes = [vertices]
    if uv is not None:
        attributes.append(uv)
    if surface.colours is not None:
        attributes.append(surface.colours.astype(np.float32))
    used, compact = np.unique(faces, return_inverse=True)
    kept, which = distinct_rows(np.concatenate(attributes, axis=1)[used])
    rows = used[kept]
    return Mesh(
        vertices=vertices[rows],
        faces=which[compact].reshape(-1, 3).astype(np.int32),
        colours=None if surface.colours is None else surface.colours[rows],
        uv=None if uv is None else uv[rows],
        texture=surface.texture,
    )
