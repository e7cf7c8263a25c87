"""Batches of pinhole cameras, in the axes that computer vision uses.

The canonical frame is right-handed with y up. A camera looks along its own +z, x right and y down (OpenCV). Picture
coordinates are normalised by the height: the picture's centre is 0, its upper border -1, its lower border +1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from alignment.camera import OPENGL_TO_OPENCV, Camera


@dataclass(frozen=True)
class Cameras:
    """V cameras.

    Attributes:
        rotation: (V, 3, 3) from the canonical frame to the camera's axes.
        translation: (V, 3), the canonical origin in the camera's axes: x_camera = rotation @ x + translation.
        focal: (V,) focal lengths in halves of the picture's height, 1 / tan(fov / 2).
    """

    rotation: Tensor
    translation: Tensor
    focal: Tensor

    def __len__(self) -> int:
        """Count the cameras."""
        return len(self.rotation)

    def __getitem__(self, index: int | slice | list[int] | Tensor) -> Cameras:
        """Some of the cameras; one by number is a batch of one."""
        rows = [index] if isinstance(index, int) else index
        return Cameras(self.rotation[rows], self.translation[rows], self.focal[rows])

    def see(self, points: Tensor) -> Tensor:
        """Points (M, 3) or (V, M, 3) of the canonical frame in the axes of each camera, (V, M, 3)."""
        return points @ self.rotation.transpose(1, 2) + self.translation[:, None]

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Points (M, 3) or (V, M, 3) to picture coordinates (V, M, 2) and depths (V, M); depths <= 0 lie behind."""
        seen = self.see(points)
        depth = seen[..., 2]
        return seen[..., :2] / depth.clamp_min(1e-6).unsqueeze(-1) * self.focal[:, None, None], depth

    @property
    def centres(self) -> Tensor:
        """Where the cameras stand in the canonical frame, (V, 3)."""
        return -(self.rotation.transpose(1, 2) @ self.translation.unsqueeze(-1)).squeeze(-1)

    def where(self, chosen: Tensor, others: Cameras) -> Cameras:
        """These of the chosen (V,) bool, the others of as many other cameras."""
        return Cameras(
            torch.where(chosen[:, None, None], self.rotation, others.rotation),
            torch.where(chosen[:, None], self.translation, others.translation),
            torch.where(chosen, self.focal, others.focal),
        )

    def to(self, device: torch.device | str) -> Cameras:
        """The same on a device."""
        return Cameras(self.rotation.to(device), self.translation.to(device), self.focal.to(device))

    def as_results(self) -> list[Camera]:
        """The same as results speak of them."""
        found = []
        for rotation, translation, focal in zip(self.rotation, self.translation, self.focal, strict=True):
            world_to_camera = np.eye(4)
            world_to_camera[:3, :3] = rotation.detach().double().cpu().numpy()
            world_to_camera[:3, 3] = translation.detach().double().cpu().numpy()
            fov_deg = float(np.degrees(2 * np.arctan(1 / float(focal))))
            to_world = np.asarray(np.linalg.inv(world_to_camera) @ OPENGL_TO_OPENCV, dtype=np.float64)
            found.append(Camera(to_world, fov_deg))
        return found


def joined(cameras: Sequence[Cameras]) -> Cameras:
    """Several batches as one."""
    return Cameras(
        torch.cat([each.rotation for each in cameras]),
        torch.cat([each.translation for each in cameras]),
        torch.cat([each.focal for each in cameras]),
    )


def of_results(cameras: Sequence[Camera]) -> Cameras:
    """Inverse of `Cameras.as_results`, float32."""
    matrices = torch.from_numpy(np.stack([camera.world_to_camera for camera in cameras])).float()
    fov = torch.tensor([camera.fov_deg for camera in cameras], dtype=torch.float64)
    return Cameras(matrices[:, :3, :3], matrices[:, :3, 3], focal_of(fov).float())


def focal_of(fov_deg: Tensor) -> Tensor:
    """Focal lengths in halves of the picture's height of vertical fields of view in degrees."""
    return 1 / torch.tan(torch.deg2rad(fov_deg) / 2)


def looking_at_origin(
    azimuth_deg: Tensor, elevation_deg: Tensor, distance: Tensor, fov_deg: Tensor, roll_deg: Tensor | None = None
) -> Cameras:
    """Cameras that look at the origin, from anywhere, the poles included.

    Args:
        azimuth_deg: (V,); 0 is on +x, 90 on -z.
        elevation_deg: (V,) in [-90, 90]; 90 is above.
        distance: (V,) from the origin.
        fov_deg: (V,) vertical field of view.
        roll_deg: (V,) turns the camera about its axis, clockwise seen from behind: the picture turns the other way.
    """
    azimuth, elevation = torch.deg2rad(azimuth_deg), torch.deg2rad(elevation_deg)
    flat = torch.zeros_like(azimuth)
    outward = torch.stack([elevation.cos() * azimuth.cos(), elevation.sin(), -elevation.cos() * azimuth.sin()], dim=-1)
    right = torch.stack([-azimuth.sin(), flat, -azimuth.cos()], dim=-1)
    down = torch.linalg.cross(-outward, right)
    if roll_deg is not None:
        cosine, sine = torch.deg2rad(roll_deg).cos()[:, None], torch.deg2rad(roll_deg).sin()[:, None]
        right, down = cosine * right + sine * down, cosine * down - sine * right
    rotation = torch.stack([right, down, -outward], dim=1)
    translation = torch.stack([flat, flat, distance.to(flat)], dim=-1)
    return Cameras(rotation, translation, focal_of(fov_deg))


def exponential(increments: Tensor) -> Tensor:
    """Rotations (V, 3, 3) by axis times angle (V, 3) in radians; differentiable everywhere, 0 included (Rodrigues)."""
    squared = (increments**2).sum(dim=-1)[:, None, None]
    is_small = squared < 1e-8
    angle = torch.where(is_small, torch.ones_like(squared), squared).sqrt()
    along = torch.where(is_small, 1 - squared / 6, angle.sin() / angle)
    across = torch.where(is_small, 0.5 - squared / 24, (1 - angle.cos()) / angle**2)
    x, y, z = increments.unbind(-1)
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).view(-1, 3, 3)
    identity = torch.eye(3, dtype=increments.dtype, device=increments.device)
    return identity + along * skew + across * (skew @ skew)


def angles_between_deg(first: Tensor, second: Tensor) -> Tensor:
    """Angles (...) in [0, 180] between rotations (..., 3, 3); exact near 0 and 180, where the cosine alone is not."""
    relative = first.transpose(-1, -2) @ second
    skew = torch.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        dim=-1,
    )
    sine = skew.norm(dim=-1) / 2
    cosine = (relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2
    return torch.rad2deg(torch.atan2(sine, cosine))


def turned_towards(points: Tensor) -> Tensor:
    """The smallest rotations (V, 3, 3) that bring directions (V, 3) to +z, the axis of a camera."""
    direction = normalize(points, dim=-1)
    axis = torch.tensor([0.0, 0.0, 1.0], dtype=points.dtype, device=points.device).expand_as(direction)
    cross = torch.linalg.cross(direction, axis)
    angle = torch.atan2(cross.norm(dim=-1), direction[:, 2])
    return exponential(normalize(cross, dim=-1) * angle[:, None])
