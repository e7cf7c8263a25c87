"""Matching against bilinearly upsampled features without holding them, as DIFT (arXiv 2306.03881) compares pixels.

Upsampling U is linear, so the cosine of a vector v with every upsampled feature of a map F is
U(F . v) / (|U(F)| |v|): a small map of products is upsampled, and the lengths are computed once for the picture.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from workers.backbones.base import Tick, no_tick
from workers.geometry.coordinates import identity_grid, pixels_to_normalised, sample, sample_at
from workers.matching.chunks import chunk_rows

_SHORTEST = 1e-12


class UpsampledMap:
    """Features of a picture as if upsampled to one vector a pixel."""

    def __init__(self, features: Tensor, *, height: int, width: int, tick: Tick = no_tick) -> None:
        """Measure the lengths of the upsampled features.

        Args:
            features: (C, h, w), covering the picture with equal cells.
            height: of the picture in pixels.
            width: of the picture in pixels.
            tick: called after every few rows of pixels.
        """
        self.features, self.height, self.width = features, height, width
        bands = []
        pixels = identity_grid(height, width, device=features.device)
        for rows in torch.split(pixels, chunk_rows(len(features) * width)):
            bands.append(sample(features.unsqueeze(0), rows.unsqueeze(0))[0].norm(dim=0))
            tick()
        self.lengths = torch.cat(bands)

    def at(self, points: Tensor) -> Tensor:
        """Features (P, C) at points (P, 2): pixels (x, y), where a pixel's centre is half a pixel from its corner."""
        places = pixels_to_normalised(points, width=self.width, height=self.height)
        return sample_at(self.features.unsqueeze(0), places.unsqueeze(0))[0].T

    def cosines(self, queries: Tensor) -> Tensor:
        """Cosines (P, height, width) of queries (P, C) of any length with the features of all pixels."""
        products = torch.einsum("pc,chw->phw", normalize(queries, dim=1), self.features)
        return _upsampled(products, self.height, self.width) / self.lengths.clamp(min=_SHORTEST)

    def nearest(self, queries: Tensor, *, tick: Tick = no_tick) -> tuple[Tensor, Tensor]:
        """Find the pixels most similar to queries (P, C), some queries at a time.

        Args:
            queries: (P, C), any length.
            tick: called after every chunk.

        Returns:
            (P, 2) pixel centres (x, y), and the cosines (P,) there.
        """
        places, similarities = [queries.new_zeros(0, 2)], [queries.new_zeros(0)]
        for block in torch.split(queries, chunk_rows(self.height * self.width)):
            similarity, index = self.cosines(block).flatten(1).max(dim=1)
            places.append(torch.stack([index % self.width, index // self.width], dim=1).to(queries) + 0.5)
            similarities.append(similarity)
            tick()
        return torch.cat(places), torch.cat(similarities)


def upsampled_cosines(queries: Tensor, features: Tensor, *, height: int, width: int) -> Tensor:
    """What `UpsampledMap.cosines` computes, written plainly with all upsampled features held."""
    every = normalize(_upsampled(features, height, width), dim=0)
    return torch.einsum("pc,chw->phw", normalize(queries, dim=1), every)


def _upsampled(maps: Tensor, height: int, width: int) -> Tensor:
    return interpolate(maps.unsqueeze(0), (height, width), mode="bilinear")[0]
