"""A first alignment by exhaustive search over rotations, scales and shifts, for features that change with the pose.

Every picture is described in a bank of rotated and zoomed views. For each pair the best relative similarity is the
highest peak among the correlations of their views, and all pairs together give the common frame. A rim where the
features see beyond the picture does not count, and what lies in the middle of a picture counts more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from workers.geometry.coordinates import identity_grid, sample
from workers.geometry.similarity import from_complex, identity_matrix, similarity_matrix, to_complex, transform
from workers.geometry.synchronisation import PairRelations, no_relations
from workers.matching.correlation import best_shift, correlate, spatial_whitening, spectra
from workers.matching.projection import Projection, fit_projection
from workers.methods.neural_congealing.initialisation import Initialisation, PairEvidence, Tick, combine
from workers.methods.neural_congealing.views import ImageViews
from workers.saliency.consensus import consensus_saliency, interior

_DIM = 32
_ANGLE_STEP = math.radians(15)
_ANGLES = 3
_SCALE_STEP = 1.25
_SCALES = 1
_MIN_CELLS = 16
_MARGIN_CELLS = 2
_WINDOW_SIGMA = 0.6
_CHANCE_PEAK = 0.7


@dataclass(frozen=True)
class Bank:
    """Spectra of rotated and zoomed views.

    Attributes:
        spectra: (N, F, K, D, n, m) complex; F orientations (as is, mirrored), K views.
        matrices: (K, 2, 3) view -> picture.
        cells: side of the views' maps.
    """

    spectra: Tensor
    matrices: Tensor
    cells: int


class CoarseViews:
    """Views at half resolution with fully whitened features and the area to trust in them."""

    def __init__(self, views: ImageViews) -> None:
        if views.describe is None:
            raise ValueError("the search needs a describer; pass `describe` to `align`")
        self.count, self.describe = views.count, views.describe
        self.cells = max(views.size[0] // 2, _MIN_CELLS)
        area = adaptive_avg_pool2d(views.valid * views.masks, self.cells)
        self.area = interior(area, _MARGIN_CELLS) * centre_window(self.cells)
        raw = self._describe(range(self.count), identity_matrix(self.count), mirrored=[False] * self.count)
        self.projection: Projection = fit_projection(raw, area, dim=_DIM, whitening=1.0)

    def look(self, image: int, matrices: Tensor, *, mirrored: bool) -> tuple[Tensor, Tensor]:
        """Unit features (K, D, c, c) and trusted area (K, 1, c, c) of views of one image."""
        count = len(matrices)
        raw = self._describe([image] * count, matrices, mirrored=[mirrored] * count)
        area = self.area[image : image + 1]
        area = area.flip(-1) if mirrored else area
        grids = transform(matrices, identity_grid(self.cells, self.cells).unsqueeze(0))
        return self.projection(raw), sample(area.expand(count, -1, -1, -1), grids, padding="zeros")

    def congealed(self, start: Initialisation) -> tuple[Tensor, Tensor]:
        """Features (N, D, c, c) and area (N, 1, c, c) of all images seen in the atlas' frame."""
        looks = [self.look(i, start.matrices[i : i + 1], mirrored=bool(start.mirrored[i])) for i in range(self.count)]
        return torch.cat([features for features, _ in looks]), torch.cat([area for _, area in looks])

    def _describe(self, images: range | list[int], matrices: Tensor, *, mirrored: list[bool]) -> Tensor:
        return self.describe(images, matrices, mirrored, cells=self.cells)


def search_alignment(views: ImageViews, *, flips: bool, tick: Tick = lambda *_: None) -> Initialisation:
    """Align without a first guess; see the module's text.

    Args:
        views: of the set, with a describer.
        flips: whether pictures may be mirrored.
        tick: called with (done, total) after each image and pair.

    Raises:
        ValueError: no describer.
    """
    coarse = CoarseViews(views)
    described = views.count * (2 if flips else 1)
    total = described + views.count * (views.count - 1) // 2
    bank = describe_bank(coarse, flips=flips, tick=lambda done, _: tick(done, total))
    evidence = pair_peaks(bank, tick=lambda done, _: tick(described + done, total))
    return centred_on_common_part(combine(evidence), coarse)


def view_matrices() -> Tensor:
    """The bank's similarities (K, 2, 3), angles outer, scales inner."""
    angles = [_ANGLE_STEP * k for k in range(-_ANGLES, _ANGLES + 1)]
    scales = [_SCALE_STEP**k for k in range(-_SCALES, _SCALES + 1)]
    return similarity_matrix(torch.tensor([[a, s, 0.0, 0.0] for a in angles for s in scales]))


def describe_bank(coarse: CoarseViews, *, flips: bool, tick: Tick = lambda *_: None) -> Bank:
    """Describe every image in every view and whiten the spectra."""
    matrices = view_matrices()
    orientations = (False, True) if flips else (False,)
    rows = []
    for image in range(coarse.count):
        for mirrored in orientations:
            features, area = coarse.look(image, matrices, mirrored=mirrored)
            rows.append(spectra(features * area))
            tick(len(rows), coarse.count * len(orientations))
    table = torch.stack(rows)
    table = table.view(coarse.count, len(orientations), *table.shape[1:])
    gains = spatial_whitening(sum_of_powers(table) / (coarse.count * len(matrices)))
    return Bank(table.mul_(gains), matrices, coarse.cells)


def sum_of_powers(table: Tensor) -> Tensor:
    """Spectral power (D, n, m) summed over the views as they are of a table (N, F, K, D, n, m), image by image."""
    return torch.stack([row[0].abs().square().sum(dim=0) for row in table]).sum(dim=0)


def pair_peaks(bank: Bank, *, tick: Tick = lambda *_: None) -> PairEvidence:
    """The best relative similarity of each pair; the weight tells how far its peak stands out among all pairs'."""
    count, orientations = bank.spectra.shape[:2]
    tables = [no_relations(count) for _ in range(orientations)]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    for done, (i, j) in enumerate(pairs, start=1):
        for orientation, table in enumerate(tables):
            _record_peak(table, bank, i, j, orientation)
        tick(done, len(pairs))
    peaks = tables[0].weights
    typical = peaks[peaks > 0].median()
    for table in tables:
        table.weights.copy_((table.weights / typical - _CHANCE_PEAK).clamp(min=0).square())
    return PairEvidence(tables[0], tables[1] if orientations > 1 else None)


def _record_peak(table: PairRelations, bank: Bank, i: int, j: int, orientation: int) -> None:
    """Entry (i, j): view p of image i lies at p + shift in the view of j; z = factor p ties views to pictures."""
    first, second = _view_pairs()
    values, shifts = best_shift(correlate(bank.spectra[i, 0, first], bank.spectra[j, orientation, second]))
    best = int(values.argmax())
    factors, _ = to_complex(bank.matrices.double())
    a, b = factors[first[best]], factors[second[best]]
    half_shift = torch.complex(*(shifts[best].double() / bank.cells))
    table.factor[i, j], table.weights[i, j] = b / a, values[best].double()
    table.source[i, j], table.target[i, j] = -a * half_shift, b * half_shift


def _view_pairs() -> tuple[Tensor, Tensor]:
    """Indices (H,), (H,) of view pairs that span all relative rotations and scales once, split evenly."""
    pairs = []
    for turn in range(-2 * _ANGLES, 2 * _ANGLES + 1):
        for zoom in range(-2 * _SCALES, 2 * _SCALES + 1):
            a, s = turn // 2, zoom // 2
            pairs.append((_view_index(-a, -s), _view_index(turn - a, zoom - s)))
    first, second = zip(*pairs, strict=True)
    return torch.tensor(first), torch.tensor(second)


def _view_index(angle: int, scale: int) -> int:
    return (angle + _ANGLES) * (2 * _SCALES + 1) + scale + _SCALES


def centre_window(cells: int) -> Tensor:
    """A mild preference (cells, cells) for what the photographer put in the middle: a wide Gaussian."""
    squared = identity_grid(cells, cells).square().sum(dim=-1)
    return torch.exp(-squared / (2 * _WINDOW_SIGMA**2))


def centred_on_common_part(start: Initialisation, coarse: CoarseViews) -> Initialisation:
    """The same alignment with the centroid of what the images have in common in the atlas' middle."""
    features, area = coarse.congealed(start)
    weights = area.flatten(1) * start.trust.clamp(min=1e-3).unsqueeze(1)
    saliency = consensus_saliency(features.flatten(2), weights, coarse.cells).double()
    points = identity_grid(coarse.cells, coarse.cells).reshape(-1, 2).double()
    x, y = (points * saliency.unsqueeze(1)).sum(dim=0) / saliency.sum().clamp(min=1e-6)
    factor, shift = to_complex(start.matrices.double())
    matrices = from_complex(factor, shift + factor * torch.complex(x, y)).float()
    return Initialisation(matrices, start.mirrored, start.trust)
