"""What mesh files may hold at most, how one is refused, and what comes of one that is taken."""

from dataclasses import dataclass
from enum import StrEnum

from alignment.mesh import Mesh


class MeshFault(StrEnum):
    """Why a mesh file is not taken."""

    UNSUPPORTED = "unsupported"
    """It is no mesh, or one of a kind that is not read."""
    DAMAGED = "damaged"
    """It is cut short, or contradicts itself."""
    EMPTY = "empty"
    """It has no surface."""
    TOO_LARGE = "too-large"


class MeshFileError(ValueError):
    """A mesh file that is not taken; the message says what is wrong and how to mend it."""

    def __init__(self, fault: MeshFault, code: str, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.code = code
        """Stable name of the exact reason."""
        self.detail = detail


@dataclass(frozen=True)
class MeshLimits:
    """The largest mesh file that is taken, and the largest mesh that is kept."""

    unpacked_bytes: int
    """All files in a ZIP."""
    picture_pixels: int
    """Of one texture; four times as many of all together."""
    picture_side: int
    kept_faces: int
    """More are simplified to so many."""
    read_faces: int = 2_000_000
    entries: int = 64
    """Files in a ZIP."""
    texture_side: int = 4096
    """Larger textures are scaled down to so many pixels a side."""


@dataclass(frozen=True)
class LoadedMesh:
    """A mesh as it is kept, in the file's own units and axes."""

    mesh: Mesh
    uploaded_faces: int
    """How many the file has."""
    is_watertight: bool
    """Whether every edge lies between exactly two faces."""
    warnings: tuple[str, ...]
    """What was changed or is missing, as sentences for the user."""
