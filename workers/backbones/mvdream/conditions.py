"""Cameras as MVDream's U-Net is told of them."""

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras

_TO_Z_UP = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
"""Axes of the canonical frame, y up, to those of MVDream, z up: (x, y, z) -> (x, -z, y)."""
_SIZE = 2.0
"""Side of MVDream's canonical cube, [-1, 1]^3, in sides of ours."""
_TINY = 1e-8


def camera_conditions(cameras: Cameras) -> Tensor:
    """Describe cameras: camera-to-world matrices, OpenGL axes and z up, row by row, with the place at distance 1.

    Field of view and distance are not told: the network knows objects that fill the picture.

    Args:
        cameras: V of them, in the canonical frame.

    Returns:
        (V, 16), in the cameras' precision and on their device.
    """
    turned = cameras.rotation.new_tensor(_TO_Z_UP)
    flipped = cameras.rotation.new_tensor([1.0, -1.0, -1.0])
    places = _SIZE * cameras.centres @ turned.T
    directions = places / (places.norm(dim=-1, keepdim=True) + _TINY)
    matrices = torch.eye(4, dtype=places.dtype, device=places.device).repeat(len(cameras), 1, 1)
    matrices[:, :3, :3] = turned @ cameras.rotation.transpose(1, 2) * flipped
    matrices[:, :3, 3] = directions
    return matrices.flatten(1)
