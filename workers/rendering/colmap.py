"""Poses as COLMAP's text files, which most tools for cameras read.

The format is that of https://colmap.github.io/format.html: world-to-camera poses in the axes x right, y down, z
forward, Hamilton quaternions (w, x, y, z), pixels whose upper left corner is (0, 0). Image i of the set is number i + 1
in all files; images without a pose are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.spatial.transform import Rotation

from alignment.camera import Camera
from alignment.mesh import GREY
from alignment.sampling import ImageSize

Floats = npt.NDArray[np.floating]
T = TypeVar("T")

_CAMERAS_HEADER = """\
# Camera list with one line of data per camera:
#   CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]
# Number of cameras: {count}
"""
_IMAGES_HEADER = """\
# Image list with two lines of data per image:
#   IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME
#   POINTS2D[] as (X, Y, POINT3D_ID)
# Number of images: {count}, mean observations per image: 0
"""
_POINTS_HEADER = """\
# 3D point list with one line of data per point:
#   POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[] as (IMAGE_ID, POINT2D_IDX)
# Number of points: {count}, mean track length: 0
"""


def cameras_txt(cameras: Sequence[Camera | None], sizes: Sequence[ImageSize]) -> str:
    """Write `cameras.txt`: one pinhole camera for each image with a pose.

    Args:
        cameras: N, None where there is no pose.
        sizes: N, of the images.
    """
    entries = []
    for number, camera, size in _posed(cameras, sizes):
        focal = camera.focal_px(size.height)
        parameters = _row(focal, focal, size.width / 2, size.height / 2)
        entries.append(f"{number} PINHOLE {size.width} {size.height} {parameters}")
    return _file(_CAMERAS_HEADER, entries)


def images_txt(cameras: Sequence[Camera | None], names: Sequence[str]) -> str:
    """Write `images.txt`: the pose of each image that has one, without keypoints.

    Args:
        cameras: N, None where there is no pose.
        names: N; blanks in them become `_`, since COLMAP cannot read them.
    """
    entries = []
    for number, camera, name in _posed(cameras, names):
        matrix = camera.world_to_camera
        x, y, z, w = Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True)
        pose = _row(w, x, y, z, *matrix[:3, 3])
        without_blanks = re.sub(r"\s", "_", name)
        entries.append(f"{number} {pose} {number} {without_blanks}\n")
    return _file(_IMAGES_HEADER, entries)


def points_txt(points: Floats | None = None, colours: npt.NDArray[np.uint8] | None = None) -> str:
    """Write `points3D.txt`: points of the surface, which are tracked in no image.

    Args:
        points: (P, 3) in the canonical frame; none if None.
        colours: (P, 3) sRGB; grey if None.
    """
    places = np.zeros((0, 3)) if points is None else np.asarray(points, dtype=np.float64)
    shades = np.full(places.shape, GREY) if colours is None else colours
    pairs = enumerate(zip(places, shades, strict=True), 1)
    return _file(_POINTS_HEADER, [f"{number} {_row(*place)} {_row(*shade)} 0" for number, (place, shade) in pairs])


def _posed(cameras: Sequence[Camera | None], facts: Sequence[T]) -> Iterator[tuple[int, Camera, T]]:
    """Number, camera and fact of each image with a pose."""
    for index, (camera, fact) in enumerate(zip(cameras, facts, strict=True)):
        if camera is not None:
            yield index + 1, camera, fact


def _row(*values: float) -> str:
    return " ".join(f"{value:.12g}" for value in values)


def _file(header: str, entries: Sequence[str]) -> str:
    return header.format(count=len(entries)) + "".join(f"{entry}\n" for entry in entries)
