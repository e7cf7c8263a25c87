"""A triangle mesh with colours."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

GREY = 180
"""Of a surface whose colour is not known, in 0..255."""


@dataclass(frozen=True)
class Mesh:
    """V vertices and F triangles, wound counterclockwise seen from outside.

    A result's mesh lies in the canonical frame: right-handed, y up, within [-0.5, 0.5]^3 (glTF's axes).
    """

    vertices: npt.NDArray[np.float32]
    """(V, 3)."""
    faces: npt.NDArray[np.int32]
    """(F, 3), rows of `vertices`."""
    colours: npt.NDArray[np.uint8] | None = None
    """(V, 3) sRGB; None where there is a texture, or where nothing is known."""
    uv: npt.NDArray[np.float32] | None = None
    """(V, 2) places on the texture, [0, 1] x [0, 1], x right, y down; None without a texture."""
    texture: npt.NDArray[np.uint8] | None = None
    """(H, W, 3) sRGB; None without."""

    @property
    def is_coloured(self) -> bool:
        """Tell whether anything is known of the surface's colour."""
        return self.colours is not None or self.texture is not None

    @property
    def bounds(self) -> npt.NDArray[np.float32]:
        """Return the corners (2, 3) of the box around all vertices."""
        return np.stack([self.vertices.min(axis=0), self.vertices.max(axis=0)])
