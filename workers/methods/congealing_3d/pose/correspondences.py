"""Which places of the surface the cells of an image show, as far as image and render are each other's nearest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.matching.chunks import chunk_rows
from workers.methods.congealing_3d.pose.observation import Observations
from workers.rendering.rasteriser import pixel_centres

_NOTHING = -2.0


@dataclass(frozen=True)
class Correspondences:
    """U cells of V images and what they show.

    Attributes:
        places: (V, U, 2), the cells' centres in picture coordinates.
        points: (V, U, 3), where they lie on the surface; 0 without a match.
        weights: (V, U) in [0, 1], cosine of the match; 0 where there is none.
    """

    places: Tensor
    points: Tensor
    weights: Tensor

    def __len__(self) -> int:
        """Count the images."""
        return len(self.places)


def mutual_correspondences(
    observations: Observations,
    images: Tensor,
    rendered: Tensor,
    coordinates: Tensor,
    *,
    tick: Tick = no_tick,
) -> Correspondences:
    """Match the cells of images with those of V renders: pairs that are each other's nearest by cosine.

    Args:
        observations: N images of g x g cells.
        images: (V,), which image each render is compared with.
        rendered: (V, C, h, w) unit features of the renders' cells; 0 where the shape is not seen.
        coordinates: (V, 3, h, w) canonical places of these cells.
        tick: called after every chunk.
    """
    cells = observations.features.shape[-1] ** 2
    step = chunk_rows(cells * max(1, rendered.shape[-2] * rendered.shape[-1]))
    centres = pixel_centres(observations.windows, observations.features.shape[-1]).flatten(1, 2)
    points, weights = [], []
    for start in range(0, len(images), step):
        rows = slice(start, start + step)
        index, cosine = _mutual(observations.features[images[rows]].flatten(2), rendered[rows].flatten(2))
        own = coordinates[rows].flatten(2).transpose(1, 2)
        points.append(own.gather(1, index.unsqueeze(-1).expand(-1, -1, 3)) * (cosine > 0).unsqueeze(-1))
        weights.append(cosine)
        tick()
    return Correspondences(centres[images], torch.cat(points), torch.cat(weights))


def _mutual(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """For columns of (n, C, U) the nearest of (n, C, W), (n, U), and cosines clamped to [0, 1]: 0 if not mutual."""
    cosine = first.transpose(1, 2) @ second
    exists = first.any(dim=1).unsqueeze(2) & second.any(dim=1).unsqueeze(1)
    cosine = torch.where(exists, cosine, _NOTHING)
    similarity, index = cosine.max(dim=2)
    back = cosine.argmax(dim=1).gather(1, index)
    is_mutual = back == torch.arange(index.shape[1], device=index.device)
    return index, torch.where(is_mutual, similarity.clamp(0, 1), 0.0)
