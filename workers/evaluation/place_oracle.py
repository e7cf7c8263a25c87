"""An oracle for solid objects: a backbone that reads from colours which place of the object a cell shows.

Unlike an oracle that knows its pictures by heart, it describes any crop at any size, and renders too: methods that
compare pictures with views of a mesh are tested through the interface that real backbones have.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, max_pool2d, normalize

from alignment.mesh import Mesh
from api_schemas.backbones import FeatureOptions
from workers.backbones.base import Backbone, Tick, cells_of, check_images, no_tick
from workers.backbones.registry import DEFAULT_OPTIONS, BackboneProvider
from workers.evaluation.place_code import MIDDLE, is_blank, is_place
from workers.evaluation.procedural_shapes import ProceduralShape

_WAVES = 32
_FREQUENCY = 6.0
_LEAST_SHARE = 0.25
_RIM_WEIGHT = 1e-3
_LEVELS = 8
_BATCH = 64


class PlaceOracle(Backbone):
    """Describes cells by random waves of the place X that they show: [cos(X B), sin(X B)] / sqrt(32).

    X is the mean place of the cell's pixels, as a patch of a vision transformer sees them together; B is 3 x 32,
    normal, times 6, so that two places d apart have cosine exp(-18 d^2), about. Features have length 1 on the object
    and 0 where nothing is (white or black); what else is behind the object gets a random unit feature for each colour.
    """

    def __init__(self, *, stride: int = 4, noise: float = 0.0, seed: int = 0) -> None:
        """Make an oracle.

        Args:
            stride: side of a feature cell in pixels.
            noise: length of the Gaussian noise that is added to every feature but 0; the same picture always gets the
                same noise.
            seed: of B, of the background's features and of the noise.
        """
        self.name, self.options, self.stride, self.dim = "oracle", FeatureOptions(), stride, 2 * _WAVES
        self.identity = f"place oracle stride={stride} noise={noise} seed={seed}"
        self._noise, self._seed = noise, seed
        generator = torch.Generator().manual_seed(seed)
        self._frequencies = _FREQUENCY * torch.randn(3, _WAVES, generator=generator)
        self._others = normalize(torch.randn(_LEVELS**3, self.dim, generator=generator), dim=1)

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe pictures of place-coloured objects; see `Backbone.extract`."""
        check_images(images)
        described = []
        for batch in torch.split(images, _BATCH):
            described.append(self._describe(batch))
            tick()
        return torch.cat(described)

    def features(self, places: Tensor) -> Tensor:
        """Describe places (..., 3) by (..., 64) without noise."""
        phase = places @ self._frequencies.to(places)
        return torch.cat([phase.cos(), phase.sin()], dim=-1) / math.sqrt(_WAVES)

    def _describe(self, images: Tensor) -> Tensor:
        cells = cells_of(images, self.stride)
        colours = images.permute(0, 2, 3, 1)
        shown = is_place(colours).unsqueeze(1).to(images)
        is_rim = max_pool2d(1 - shown, 3, 1, 1)
        mean = _weighted_mean(images, shown * (1 - (1 - _RIM_WEIGHT) * is_rim), cells)
        on_object = self.features(mean.permute(0, 2, 3, 1) - MIDDLE)
        behind = _weighted_mean(images, 1 - shown, cells).permute(0, 2, 3, 1)
        share = adaptive_avg_pool2d(shown, cells).permute(0, 2, 3, 1)
        found = torch.where(share >= _LEAST_SHARE, on_object, self._behind(behind)).permute(0, 3, 1, 2)
        return found + self._noise_of(images, found.shape) * (found.abs().sum(dim=1, keepdim=True) > 0)

    def _behind(self, colours: Tensor) -> Tensor:
        """Describe the background's colours (..., 3)."""
        steps = (colours.clamp(0, 1) * (_LEVELS - 1)).round().long()
        number = (steps[..., 0] * _LEVELS + steps[..., 1]) * _LEVELS + steps[..., 2]
        return self._others.to(colours)[number] * ~is_blank(colours).unsqueeze(-1)

    def _noise_of(self, images: Tensor, shape: torch.Size) -> Tensor:
        """Noise for features of `shape`, of each picture's own."""
        if self._noise == 0:
            return torch.zeros((), device=images.device)
        drawn = []
        for image in images.mul(255).round().clamp(0, 255).byte().cpu():
            content = hashlib.sha256(image.contiguous().numpy().tobytes()).digest()
            seed = int.from_bytes(content[:6], "little") ^ self._seed
            drawn.append(torch.randn(shape[1:], generator=torch.Generator().manual_seed(seed)))
        return torch.stack(drawn).to(images) * (self._noise / math.sqrt(self.dim))


class PlaceOracleProvider(BackboneProvider):
    """Gives an oracle, whichever backbone is asked for."""

    def __init__(self, oracle: PlaceOracle) -> None:
        """Give `oracle`."""
        super().__init__()
        self._oracle = oracle

    def get(self, choice: str, options: FeatureOptions = DEFAULT_OPTIONS) -> Backbone:  # noqa: ARG002
        """Return the oracle."""
        return self._oracle


def oracle_provider(*, stride: int = 4, noise: float = 0.0, seed: int = 0) -> PlaceOracleProvider:
    """Make a provider for a whole method run; arguments as of `PlaceOracle`."""
    return PlaceOracleProvider(PlaceOracle(stride=stride, noise=noise, seed=seed))


def place_coloured(shape: ProceduralShape) -> Mesh:
    """Return a shape's mesh in the colours that the oracle reads: likeness + 0.5.

    Meshes with colours are drawn without light, so views of it can be read like pictures.
    """
    colours = ((shape.likeness + MIDDLE).clip(0, 1) * 255).round().astype("uint8")
    return replace(shape.mesh, colours=colours)


def _weighted_mean(images: Tensor, weights: Tensor, cells: tuple[int, int]) -> Tensor:
    """Mean (N, 3, h, w) over each cell's pixels, by weights (N, 1, H, W); 0 where all are 0."""
    total = adaptive_avg_pool2d(weights, cells)
    return adaptive_avg_pool2d(images * weights, cells) / total.clamp_min(1e-9)
