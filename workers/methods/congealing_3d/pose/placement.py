"""From a candidate, which looks at the origin, to the camera of a picture in which the object lies anywhere.

Crops throw away where the object lies and how large it is; the camera's place brings both back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workers.geometry.cameras import Cameras, turned_towards


def shifted(cameras: Cameras, rendered: Tensor, observed: Tensor) -> Cameras:
    """Move cameras sideways and along their axes until what they saw in one window lies in another.

    The rotations stay: exact for flat things, near enough for objects near the picture's centre.

    Args:
        cameras: V of them.
        rendered: (V, 3) windows in which they see the object.
        observed: (V, 3) windows in which they shall see it.
    """
    scale = observed[:, 2:] / rendered[:, 2:]
    depth = cameras.translation[:, 2:] / scale
    sideways = (observed[:, :2] - scale * rendered[:, :2]) * depth / cameras.focal[:, None]
    moved = torch.cat([cameras.translation[:, :2] / scale + sideways, depth], dim=1)
    return Cameras(cameras.rotation, moved, cameras.focal)


def in_pictures(cameras: Cameras, windows: Tensor, aspect: Tensor) -> tuple[Cameras, Tensor]:
    """Read the fields of view of candidates as those of the longer sides of pictures.

    Read as vertical ones, 60 degrees would be an extreme wide angle in a picture three times as wide as high.

    Args:
        cameras: V candidates.
        windows: (V, 3) through which they were drawn.
        aspect: (V,) width by height of the pictures.

    Returns:
        The cameras with the pictures' focal lengths, and the windows (V, 3) in which they see the same as before.
    """
    longer = aspect.clamp_min(1)
    return Cameras(cameras.rotation, cameras.translation, cameras.focal * longer), windows * longer[:, None]


def placed(cameras: Cameras, rendered: Tensor, observed: Tensor) -> Cameras:
    """Turn and move cameras until what they saw in the middle of one window is seen in another, the same side of it.

    A camera that sees an object beside its axis sees another side of it than one that looks straight at it. So the
    object is first moved to the axis of a camera that looks at the window's middle, which then is turned away.

    Args:
        cameras: V of them.
        rendered: (V, 3) windows in which they see the object.
        observed: (V, 3) windows in which they shall see it.
    """
    rays = torch.cat([observed[:, :2] / cameras.focal[:, None], torch.ones_like(observed[:, :1])], dim=1)
    cosine = 1 / rays.norm(dim=1)
    # Seen straight on, the window is narrower: by the cosine across, by its square along the way to the centre.
    half = observed[:, 2] * cosine**1.5
    central = torch.stack([torch.zeros_like(half), torch.zeros_like(half), half], dim=1)
    straight = shifted(cameras, rendered, central)
    back = turned_towards(rays).transpose(1, 2)
    return Cameras(back @ straight.rotation, (back @ straight.translation.unsqueeze(-1)).squeeze(-1), straight.focal)


def within(cameras: Cameras, points: Tensor, windows: Tensor, *, most: float) -> Tensor:
    """Tell which of V cameras see points (P, 3) all before them, and no wider than `most` sides of windows (V, 3)."""
    seen, depth = cameras.project(points)
    half = (seen.amax(dim=1) - seen.amin(dim=1)).amax(dim=1) / 2
    inside: Tensor = (depth > 0).all(dim=1) & (half <= most * windows[:, 2])
    return inside
