"""Poses whose silhouette is the image's mask: descent on a soft intersection over union."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import avg_pool2d

from workers.backbones.base import Tick, no_tick
from workers.geometry.cameras import Cameras
from workers.geometry.coordinates import sample
from workers.methods.congealing_3d.maps.distance import mask_loss
from workers.methods.congealing_3d.pose.increments import Descent, descend, in_blocks
from workers.methods.congealing_3d.pose.observation import Observations
from workers.rendering.rasteriser import pixel_centres
from workers.rendering.soft_points import SIGMA_PX, soft_point_mask, softened

_FINER = 2
_CPU_POINTS, _GPU_POINTS = 20_000, 2_000_000


@dataclass(frozen=True)
class MaskOptions:
    """How silhouettes are compared.

    Attributes:
        size: pixels a side.
        enlarged: side of what is compared, in sides of the crop: what sticks out of the crop counts too.
        sigma_px: radius of a point.
        steps: of Adam.
        rate: of its first step.
        free_focal: change focal lengths too.
    """

    size: int = 64
    enlarged: float = 1.25
    sigma_px: float = SIGMA_PX
    steps: int = 150
    rate: float = 1.5e-2
    free_focal: bool = False


@dataclass(frozen=True)
class Silhouettes:
    """The masks of N images as they are compared with renders.

    Attributes:
        windows: (N, 3) of what is compared, larger than the crops.
        masks: (N, 1, S, S) in [0, 1], as soft as points are drawn; 0 outside the picture.
        known: (N, 1, S, S), 1 inside the picture and 0 outside, where nothing can be told.
    """

    windows: Tensor
    masks: Tensor
    known: Tensor

    @classmethod
    def of(cls, observations: Observations, points_count: int, options: MaskOptions) -> Silhouettes:
        """Read the masks over enlarged windows, to be compared with so many points; around its crop an object is not.

        Raises:
            ValueError: the masks are unknown.
        """
        if observations.masks is None:
            raise ValueError("the images' masks are unknown; refine their poses by features alone")
        windows = observations.windows * observations.windows.new_tensor([1.0, 1.0, options.enlarged])
        fine = _in_crop(pixel_centres(windows, options.size * _FINER), observations.windows)
        is_in_crop = (fine.abs() <= 1).all(dim=-1).unsqueeze(1)
        masks = avg_pool2d(sample(observations.masks, fine) * is_in_crop, _FINER)
        x, y = pixel_centres(windows, options.size).unbind(dim=-1)
        known = ((x.abs() <= observations.aspect.view(-1, 1, 1)) & (y.abs() <= 1)).unsqueeze(1).to(masks)
        density = points_count / masks.sum(dim=(1, 2, 3)).clamp_min(1)
        return cls(windows, softened(masks, density, sigma_px=options.sigma_px) * known, known)

    def __getitem__(self, rows: Tensor) -> Silhouettes:
        """Some of the images, in any order."""
        return Silhouettes(self.windows[rows], self.masks[rows], self.known[rows])

    def loss(self, points: Tensor, cameras: Cameras, options: MaskOptions) -> Tensor:
        """1 - IoU (N,) of the points' silhouettes seen by N cameras."""
        drawn = soft_point_mask(points, cameras, self.windows, options.size, sigma_px=options.sigma_px)
        return mask_loss(drawn * self.known, self.masks)


def _in_crop(places: Tensor, windows: Tensor) -> Tensor:
    """Picture coordinates (N, S, S, 2) in [-1, 1] coordinates of windows (N, 3)."""
    return (places - windows[:, None, None, :2]) / windows[:, 2].view(-1, 1, 1, 1)


def refine_by_masks(
    observations: Observations,
    points: Tensor,
    cameras: Cameras,
    images: Tensor,
    *,
    options: MaskOptions | None = None,
    tick: Tick = no_tick,
) -> Descent:
    """Refine V poses until silhouettes agree (section 3.3 of arXiv 2404.02125); losses are 1 - IoU.

    Args:
        observations: N images with masks.
        points: (P, 3) spread over the canonical surface; about a thousand do.
        cameras: V poses.
        images: (V,), which image each is of.
        options: settings.
        tick: called every step.

    Raises:
        ValueError: the masks are unknown.
    """
    options = options or MaskOptions()
    silhouettes = Silhouettes.of(observations, len(points), options)

    def refine(rows: Tensor) -> Descent:
        targets = silhouettes[images[rows]]
        return descend(
            cameras[rows],
            lambda poses: targets.loss(points, poses, options),
            steps=options.steps,
            rate=options.rate,
            free_focal=options.free_focal,
            tick=tick,
        )

    return in_blocks(images, refine, most=poses_at_once(points))


def poses_at_once(points: Tensor) -> int:
    """How many silhouettes of points (P, 3) are best drawn together: what a processor's cache holds, or a GPU."""
    return (_GPU_POINTS if points.is_cuda else _CPU_POINTS) // len(points)
