"""Cameras: where pictures were taken from, as results and queries speak of it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.sampling import FloatArray, ImageSize

OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""Between camera axes (x right, y up, looking along -z) and (x right, y down, looking along +z); its own inverse."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera whose axis goes through the picture's centre."""

    to_world: npt.NDArray[np.float64]
    """(4, 4) camera to world, OpenGL axes: x right, y up, looking along -z."""
    fov_deg: float
    """Vertical field of view in (0, 180)."""

    @property
    def world_to_camera(self) -> npt.NDArray[np.float64]:
        """Return (4, 4) world to camera, OpenCV axes: x right, y down, looking along +z."""
        return np.asarray(np.linalg.inv(self.to_world @ OPENGL_TO_OPENCV), dtype=np.float64)

    def focal_px(self, height: int) -> float:
        """Return the focal length in pixels of a picture of that height; pixels are square."""
        return float(0.5 * height / np.tan(np.radians(self.fov_deg) / 2))

    def intrinsics(self, size: ImageSize) -> npt.NDArray[np.float64]:
        """Return the calibration matrix (3, 3) in pixels of a picture of that size."""
        focal = self.focal_px(size.height)
        return np.array([[focal, 0, size.width / 2], [0, focal, size.height / 2], [0, 0, 1]])

    def project(self, points: FloatArray, size: ImageSize) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Project world points (P, 3) to pixels (P, 2) and depths (P,) along the axis; NaN pixels behind the camera."""
        seen = np.asarray(points, dtype=np.float64) @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        depth = seen[:, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = seen[:, :2] / depth[:, None] * self.focal_px(size.height) + size.extent / 2
        pixels[~(depth > 0)] = np.nan
        return pixels, depth
