"""The user's mesh in the canonical frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from alignment.mesh import Mesh
from api_schemas.methods.congealing_3d import UpAxis
from workers.methods.base import UnfitImagesError

RADIUS = 0.5
"""How far the farthest vertex lies from the middle of the mesh's box."""
_UPRIGHT: dict[UpAxis, npt.NDArray[np.float64]] = {
    "y": np.eye(3),
    "z": np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
    "x": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
}


def in_canonical_frame(mesh: Mesh, *, up_axis: UpAxis = "y", yaw_deg: float = 0.0) -> Mesh:
    """Turn, centre and scale a mesh: y up, the middle of its box at the origin, the farthest vertex 0.5 away.

    Args:
        mesh: in its file's axes and units.
        up_axis: which of the file's axes points up.
        yaw_deg: turn about the axis that points up, counterclockwise seen from above.

    Raises:
        UnfitImagesError: the mesh is a single point.
    """
    turn = np.radians(yaw_deg)
    yaw = np.array([[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]])
    vertices = mesh.vertices.astype(np.float64) @ (yaw @ _UPRIGHT[up_axis]).T
    vertices -= (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    reach = float(np.linalg.norm(vertices, axis=1).max())
    if not reach > 0:
        raise UnfitImagesError("the mesh has no extent: all its vertices lie at one point; give another one")
    return replace(mesh, vertices=(vertices * (RADIUS / reach)).astype(np.float32))
