"""Poses at which the surface's places fall on their likes in the image.

For a camera, each cell of the image is given the place of the surface that it likely shows: the mean of what the
camera sees around it, weighted by how similar it looks and how near it is. Then the camera is moved until these places
are seen at their cells, and all is done again, nearer each time. This is registration by expectation and maximisation
(iterated closest points with soft matches). Unlike in a descent on the cosines themselves, where every point that
falls beside the object costs, the object's borders do not pull its points inwards.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.backbones.base import Tick, no_tick
from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.pose.increments import Descent, by_image, descend, in_blocks, places_in
from workers.methods.congealing_3d.pose.observation import Observations, SurfaceSamples
from workers.methods.congealing_3d.pose.visibility import visible_points
from workers.rendering.rasteriser import pixel_centres

_CPU_PAIRS, _GPU_PAIRS = 5_000_000, 500_000_000
_FAR = 1e3
_SPLAT, _SPLAT_REACH = 0.05, 3.0
"""Radius in halves of the crop by which points are drawn to measure distances, and how many of it they are seen."""


@dataclass(frozen=True)
class Level:
    """One round of matching and descent.

    Attributes:
        radius: how far from a cell its place is sought, a standard deviation in halves of the crop.
        rate: of Adam's first step, in radians and shares of the distance.
        steps: of Adam.
    """

    radius: float
    rate: float
    steps: int = 25


LEVELS = (Level(0.4, 1.5e-2), Level(0.2, 1.2e-2), Level(0.1, 1e-2), Level(0.05, 8e-3), Level(0.05, 6e-3))


@dataclass(frozen=True)
class MatchingOptions:
    """How features are compared.

    Attributes:
        sharpness: by how much, as an exponent, a place with cosine 1 counts more than one with cosine 0.
        outlier: distance in halves of the crop from which on a cell pulls less and less (Geman and McClure); half the
            radius where that is more.
        cells: of an image that take part, at most.
    """

    sharpness: float = 30.0
    outlier: float = 0.05
    cells: int = 256


@dataclass(frozen=True)
class FeatureRounds:
    """How poses are refined by features.

    Attributes:
        levels: rounds, coarse to fine; at least one.
        matching: how features are compared.
        free_focal: change focal lengths too.
    """

    levels: tuple[Level, ...] = LEVELS
    matching: MatchingOptions = field(default_factory=MatchingOptions)
    free_focal: bool = False


@dataclass(frozen=True)
class Targets:
    """What U cells of V images likely show.

    Attributes:
        places: (V, U, 2) where the cells are, in picture coordinates.
        half: (V,) half sides of the crops.
        points: (V, U, 3) the places of the surface they show.
        cosines: (V, U) how similar those look.
        weights: (V, U), 1 for cells of the object, else 0.
        outlier: distance in halves of the crop, see `MatchingOptions`.
    """

    places: Tensor
    half: Tensor
    points: Tensor
    cosines: Tensor
    weights: Tensor
    outlier: float

    def loss(self, cameras: Cameras) -> Tensor:
        """Robust mean distance in [0, 1] of the cells from where V cameras see their places, (V,)."""
        away = (cameras.project(self.points)[0] - self.places) / self.half[:, None, None]
        squared = away.square().sum(dim=-1)
        trust = self.weights * self.cosines.clamp_min(0)
        return (trust * squared / (squared + self.outlier**2)).sum(dim=1) / trust.sum(dim=1).clamp_min(1e-6)


class FeatureMatching:
    """Finds what the cells of V images show."""

    def __init__(
        self, observations: Observations, samples: SurfaceSamples, images: Tensor, options: MatchingOptions
    ) -> None:
        """Compare all cells with all points, once for each image.

        Args:
            observations: N images.
            samples: P points.
            images: (V,) which image each pose is of.
            options: settings.
        """
        own, self._rows = torch.unique(images, return_inverse=True)
        self._observed, self._samples, self._options = observations[own], samples, options
        features = self._observed.features.flatten(2).transpose(1, 2)
        chosen, self._weights = _spread_cells(features, options.cells)
        read = features.gather(1, chosen.unsqueeze(-1).expand(-1, -1, features.shape[-1]))
        self._cosines = normalize(read, dim=-1) @ samples.features.T
        centres = pixel_centres(self._observed.windows, self._observed.features.shape[-1]).flatten(1, 2)
        self._places = centres.gather(1, chosen.unsqueeze(-1).expand(-1, -1, 2))

    @torch.no_grad()
    def at(self, cameras: Cameras, radius: float) -> Targets:
        """Match around where V cameras see the surface, within about `radius` halves of the crops."""
        away, cosines = self._away(cameras), self._cosines[self._rows]
        shares = (self._options.sharpness * cosines - away**2 / (2 * radius**2)).softmax(dim=-1)
        return Targets(
            self._places[self._rows],
            self._observed.windows[self._rows, 2],
            shares @ self._samples.points,
            (shares * cosines).sum(dim=-1),
            self._weights[self._rows],
            max(self._options.outlier, radius / 2),
        )

    @torch.no_grad()
    def distances(self, cameras: Cameras) -> Tensor:
        """Mean of 1 - cosine over the cells, (V,), to what V cameras see there; 1 for cells where they see nothing."""
        away = self._away(cameras)
        shares = (-(away**2) / (2 * _SPLAT**2)).softmax(dim=-1)
        length = (shares @ self._samples.features).norm(dim=-1)
        cosines = (shares * self._cosines[self._rows]).sum(dim=-1) / length.clamp_min(1e-6)
        cosines = torch.where(away.amin(dim=-1) < _SPLAT_REACH * _SPLAT, cosines, 0.0)
        weights = self._weights[self._rows]
        return 1 - (weights * cosines).sum(dim=1) / weights.sum(dim=1).clamp_min(1)

    @torch.no_grad()
    def spread(self) -> Tensor:
        """How far apart the places are that a cell is like, wherever they are: (V,), in canonical units.

        The median over the cells that show the object of their standard deviation about their mean.
        """
        points, shares = self._samples.points, (self._options.sharpness * self._cosines).softmax(dim=-1)
        squared = shares @ points.square().sum(dim=-1) - (shares @ points).square().sum(dim=-1)
        apart = torch.where(self._weights > 0, squared.clamp_min(0).sqrt(), torch.nan)
        return apart.nanmedian(dim=1).values[self._rows]

    def _away(self, cameras: Cameras) -> Tensor:
        """Distances (V, U, P) in halves of the crops of cells from points; huge for points that are not seen."""
        samples, half = self._samples, self._observed.windows[self._rows, 2]
        away = torch.cdist(self._places[self._rows], cameras.project(samples.points)[0]) / half[:, None, None]
        is_candidate = visible_points(samples, cameras) & (samples.features.square().sum(dim=1) > 0)
        return away.masked_fill(~is_candidate.unsqueeze(1), _FAR)


def refine_by_features(
    observations: Observations,
    samples: SurfaceSamples,
    cameras: Cameras,
    images: Tensor,
    *,
    options: FeatureRounds | None = None,
    tick: Tick = no_tick,
) -> Descent:
    """Refine V poses until the surface's features fall on their likes in the images.

    Args:
        observations: N images.
        samples: of the canonical surface; about a thousand do.
        cameras: V poses.
        images: (V,), which image each is of.
        options: settings.
        tick: called every step.

    Returns:
        Losses are those of the last round: `first` at its start.
    """
    options = options or FeatureRounds()

    def refine(rows: Tensor) -> Descent:
        matching = FeatureMatching(observations, samples, images[rows], options.matching)
        poses = cameras[rows]
        for level in options.levels:
            found = descend(
                poses,
                matching.at(poses, level.radius).loss,
                steps=level.steps,
                rate=level.rate,
                free_focal=options.free_focal,
                tick=tick,
            )
            poses = found.cameras
        return found

    return in_blocks(images, refine, most=poses_at_once(samples, options.matching))


def feature_distances(
    observations: Observations,
    samples: SurfaceSamples,
    cameras: Cameras,
    images: Tensor,
    *,
    options: MatchingOptions | None = None,
) -> Tensor:
    """Semantic distances (V,) in [0, 2] of V poses from their images (V,): see `FeatureMatching.distances`."""
    options = options or MatchingOptions()
    parts = [
        FeatureMatching(observations, samples, images[rows], options).distances(cameras[rows])
        for rows in by_image(images, most=poses_at_once(samples, options))
    ]
    return torch.cat(parts)[places_in(images)]


def poses_at_once(samples: SurfaceSamples, options: MatchingOptions) -> int:
    """How many poses fit into memory together."""
    pairs = _GPU_PAIRS if samples.points.is_cuda else _CPU_PAIRS
    return max(1, pairs // (len(samples) * options.cells))


def _spread_cells(features: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Choose up to `most` cells (N, U) that show something, evenly, and weights (N, U): 0 for cells that do not."""
    is_shown = features.square().sum(dim=-1) > 0
    rank = is_shown.cumsum(dim=1) - 1
    count = is_shown.sum(dim=1, keepdim=True)
    kept = is_shown & ((rank * most) // count.clamp_min(most) != ((rank - 1) * most) // count.clamp_min(most))
    order = torch.sort(kept.to(torch.uint8), dim=1, descending=True, stable=True).indices[:, :most]
    return order, kept.gather(1, order).to(features)
