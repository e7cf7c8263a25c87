"""A shape whose every place is known in closed form: a ball, seen by cameras around it."""

import numpy as np
import numpy.typing as npt

from alignment.camera import OPENGL_TO_OPENCV, Camera
from alignment.mesh import Mesh
from alignment.sampling import ImageSize, cell_centres
from alignment.shape import Shape

RADIUS = 0.5
SIZE = ImageSize(400, 300)
CELLS = (150, 200)
AZIMUTHS = (0.0, 40.0, 180.0)
Float64 = npt.NDArray[np.float64]


def camera_at(azimuth_deg: float, elevation_deg: float = 10.0, distance: float = 2.2, fov_deg: float = 40.0) -> Camera:
    """A camera that looks at the origin; azimuth 0 is on +x, 90 on -z."""
    azimuth, elevation = np.radians(azimuth_deg), np.radians(elevation_deg)
    out = np.array([np.cos(elevation) * np.cos(azimuth), np.sin(elevation), -np.cos(elevation) * np.sin(azimuth)])
    right = np.array([-np.sin(azimuth), 0, -np.cos(azimuth)])
    to_world = np.eye(4)
    to_world[:3, :3] = np.column_stack([right, np.cross(out, right), out])
    to_world[:3, 3] = distance * out
    return Camera(to_world, fov_deg)


def hits(camera: Camera, pixels: Float64, size: ImageSize = SIZE) -> Float64:
    """Where rays through pixels (..., 2) meet the ball first, (..., 3); NaN where they miss it."""
    focal = camera.focal_px(size.height)
    rays = np.concatenate([(pixels - size.extent / 2) / focal, np.ones((*pixels.shape[:-1], 1))], axis=-1)
    rays = rays @ (camera.to_world[:3, :3] @ OPENGL_TO_OPENCV[:3, :3]).T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    centre = camera.to_world[:3, 3]
    along = -rays @ centre
    with np.errstate(invalid="ignore"):
        depth = along - np.sqrt(RADIUS**2 - (centre @ centre - along**2))
    return np.asarray(centre + depth[..., None] * rays)


def shown(camera: Camera, points: Float64) -> npt.NDArray[np.bool_]:
    """Tell which points (P, 3) of the ball face a camera."""
    return np.asarray(np.einsum("pc,pc->p", points, camera.to_world[:3, 3] - points) > 0)


def on_ball(uv: Float64) -> Float64:
    """The point (..., 3) of the ball that a place (..., 2) on its texture shows: longitude across, latitude down."""
    longitude, latitude = 2 * np.pi * uv[..., 0], np.pi * (0.5 - uv[..., 1])
    flat = np.cos(latitude)
    return RADIUS * np.stack([flat * np.cos(longitude), np.sin(latitude), flat * np.sin(longitude)], axis=-1)


def on_texture(points: Float64) -> Float64:
    """Inverse of `on_ball`."""
    longitude = np.arctan2(points[..., 2], points[..., 0]) / (2 * np.pi)
    latitude = np.arcsin(np.clip(points[..., 1] / RADIUS, -1, 1)) / np.pi
    return np.stack([longitude % 1, 0.5 - latitude], axis=-1)


def ball_mesh(rows: int = 24, columns: int = 48) -> Mesh:
    """A ball of rows x columns quads with a seam at longitude 0, and a small texture."""
    u, v = np.meshgrid(np.linspace(0, 1, columns + 1), np.linspace(0, 1, rows + 1))
    uv = np.stack([u, v], axis=-1).reshape(-1, 2)
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)).ravel()
    below = corner + columns + 1
    first, second = np.stack([corner, corner + 1, below], axis=1), np.stack([corner + 1, below + 1, below], axis=1)
    texture = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    return Mesh(
        on_ball(uv).round(9).astype(np.float32),
        np.concatenate([first, second]).astype(np.int32),
        uv=uv.astype(np.float32),
        texture=texture,
    )


def ball(
    azimuths: tuple[float, ...] = AZIMUTHS, *, cells: tuple[int, int] = CELLS, texels: int = 128, posed: bool = True
) -> Shape:
    """The ball with a confidence of 0.75 where images show it; the top eighth of the texture shows nothing."""
    cameras = tuple(camera_at(azimuth) for azimuth in azimuths)
    coordinates = tuple(hits(camera, cell_centres(*cells, SIZE.extent)).astype(np.float32) for camera in cameras)
    surface = on_ball(cell_centres(texels, texels, np.ones(2))).astype(np.float32)
    surface[: texels // 8] = np.nan
    return Shape(
        images=(SIZE,) * len(azimuths),
        mesh=ball_mesh(),
        cameras=cameras if posed else (None,) * len(azimuths),
        coordinates=coordinates,
        confidence=tuple(np.full(cells, 0.75, dtype=np.float32) for _ in azimuths),
        texels=surface,
    )
