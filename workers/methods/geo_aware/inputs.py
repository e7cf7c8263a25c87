"""A set as GeoAware sees it: every picture described in every variant, on the picture's own cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from workers.geometry.coordinates import identity_grid, sample
from workers.imaging.frames import WorkingFrames, inner_map, letterboxed
from workers.methods.base import InputImage
from workers.methods.features import Heartbeat, require_structure
from workers.methods.geo_aware.describing import Describer
from workers.methods.geo_aware.variants import VARIANTS, Variant, picture, to_variant

_MOSTLY = 0.5


@dataclass(frozen=True)
class Looks:
    """N pictures in V variants.

    Attributes:
        frames: the pictures as they are.
        variants: the first is the picture as it is.
        features: of each variant (N, D, g, g) unit vectors; cell (y, x) of the *unmoved* frame holds what is said of
            its place in the moved picture, so that all variants lie on one grid.
        inside: of each variant (N, g, g) bool, the cells of the object, or of the picture, that the variant shows.
    """

    frames: WorkingFrames
    variants: tuple[Variant, ...]
    features: tuple[Tensor, ...]
    inside: tuple[Tensor, ...]

    def inner(self, variant: int, image: int) -> Tensor:
        """Unit vectors (D, rows, columns) of a picture without its padding."""
        return normalize(inner_map(self.features[variant][image], self.frames.boxes[image]), dim=0)

    def inner_mask(self, variant: int, image: int) -> Tensor | None:
        """Cells (rows, columns) bool of the object, without the padding; None if all are."""
        inside = inner_map(self.inside[variant][image : image + 1].float(), self.frames.boxes[image])[0] > _MOSTLY
        return None if bool(inside.all()) else inside

    def masked(self, masks: Tensor | None) -> Looks:
        """The same with the objects at masks (N, 1, c, c) in [0, 1]; None: the whole pictures count."""
        if masks is None:
            return self
        cells = self.features[0].shape[-1]
        marked = torch.nn.functional.interpolate(masks, (cells, cells), mode="bilinear")[:, 0] > _MOSTLY
        return replace(self, inside=tuple(inside & marked for inside in self.inside))


def look_at(
    images: Sequence[InputImage],
    names: Sequence[str],
    describer: Describer,
    *,
    device: torch.device,
    pulse: Heartbeat,
) -> Looks:
    """Describe images in the variants so named.

    Raises:
        UnfitImagesError: images show nothing at all.
    """
    require_structure(images)
    size = describer.cells * describer.backbone.stride
    frames = letterboxed([image.rgb for image in images], size, device)
    variants = tuple(VARIANTS[name] for name in names)
    described: list[list[Tensor]] = [[] for _ in variants]
    total, known = len(images) * len(variants), 0
    for image, frame in enumerate(frames.pictures):
        for number, variant in enumerate(variants):
            features, hits = describer(picture(frame, variant).unsqueeze(0), tick=pulse.beat)
            described[number].append(_unmoved(features, variant))
            known += hits
            pulse.step(image * len(variants) + number + 1, total)
    if known:
        pulse.log(f"Features of {known} of {total} pictures were at hand and not computed again.")
    whole = frames.valid(describer.cells)[:, 0] > _MOSTLY
    return Looks(
        frames,
        variants,
        tuple(torch.cat(features) for features in described),
        tuple(whole & _shown(describer.cells, variant).to(whole.device) for variant in variants),
    )


def _unmoved(features: Tensor, variant: Variant) -> Tensor:
    """Features (1, D, g, g) of a moved picture, read at the places of the unmoved one's cells."""
    cells = features.shape[-1]
    places = to_variant(identity_grid(cells, cells, device=features.device), variant)
    return normalize(sample(features, places.unsqueeze(0)), dim=1)


def _shown(cells: int, variant: Variant) -> Tensor:
    """Cells (g, g) bool of the unmoved frame that the variant shows; a turn moves the corners out of sight."""
    places = to_variant(identity_grid(cells, cells), variant)
    return (places.abs() <= 1).all(dim=-1)
