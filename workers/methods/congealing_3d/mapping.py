"""The place on the shape of every cell of every image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from workers.backbones.base import Tick
from workers.geometry.cameras import Cameras
from workers.matching.projection import Projection
from workers.methods.congealing_3d.maps.forward import forward_map
from workers.methods.congealing_3d.maps.warp import Warps, find_warps
from workers.methods.congealing_3d.pose.bank import Step, SurfaceReader, no_step
from workers.methods.congealing_3d.pose.observation import Observations
from workers.methods.congealing_3d.scene import Mask, Scene
from workers.rendering.views import Views, render

_RENDERED_PX = 256


@dataclass(frozen=True)
class PlacedImage:
    """The map of an image.

    Attributes:
        coordinates: (h, w, 3) float32 in the canonical frame; NaN where the image does not show the shape.
        confidence: (h, w) in [0, 1].
    """

    coordinates: npt.NDArray[np.float32]
    confidence: npt.NDArray[np.float32]


def place_images(
    scene: Scene,
    observations: Observations,
    cameras: Cameras,
    reader: SurfaceReader,
    projection: Projection,
    *,
    side: int,
    warp: bool,
    tick: Tick,
    step: Step = no_step,
) -> list[PlacedImage]:
    """Map the images shown.

    Args:
        scene: all images.
        observations: of those shown.
        cameras: their poses.
        reader: draws and describes the shape.
        projection: of features.
        side: cells along the longer side of each map.
        warp: bend the maps to where features fit best.
        tick: shows life.
        step: is told how many of how many images are done.
    """
    features, masks = reader.seen(cameras, observations.windows, projection, tick=tick)
    own = masks if observations.masks is None else adaptive_avg_pool2d(observations.masks, features.shape[-1])
    if warp:
        warps = find_warps(observations.features, own, features, masks, tick=tick)
    else:
        cosine = (observations.features * features).sum(dim=1, keepdim=True)
        still = features.new_zeros(len(features), 2, *features.shape[-2:])
        warps = Warps(still, cosine, own)
    found = []
    for row, index in enumerate(scene.shown):
        views = render(reader.surface, cameras[row], observations.windows[row : row + 1], _RENDERED_PX, supersampling=1)
        mask = None if scene.masks is None else scene.masks[index]
        size = map_shape(scene.images[index].width, scene.images[index].height, side)
        found.append(_placed(warps[row], views, observations.windows[row], size, scene.aspects[row], mask))
        step(row + 1, len(scene.shown))
    return found


def map_shape(width: int, height: int, side: int) -> tuple[int, int]:
    """Rows and columns of cells of a picture's map, `side` along the longer side."""
    longer = max(width, height)
    return max(1, round(side * height / longer)), max(1, round(side * width / longer))


def nowhere(width: int, height: int, side: int) -> PlacedImage:
    """The map of an image that shows no object."""
    rows, columns = map_shape(width, height, side)
    return PlacedImage(np.full((rows, columns, 3), np.nan, np.float32), np.zeros((rows, columns), np.float32))


def _placed(
    warp: Warps, views: Views, window: Tensor, size: tuple[int, int], aspect: Tensor, mask: Mask | None
) -> PlacedImage:
    rows, columns = size
    shown = None
    if mask is not None:
        whole = torch.from_numpy(mask).to(window.device)[None, None]
        shown = interpolate(whole, size, mode="area")[0, 0]
    found = forward_map(
        warp,
        views.coordinates[0],
        views.hit[0],
        window,
        aspect=float(aspect),
        rows=rows,
        columns=columns,
        image_mask=shown,
    )
    return PlacedImage(found.coordinates.float().cpu().numpy(), found.confidence.float().cpu().numpy())
