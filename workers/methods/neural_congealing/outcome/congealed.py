"""The images of an alignment seen through the atlas."""

from __future__ import annotations

from torch import Tensor

from workers.backbones.base import Tick
from workers.geometry.coordinates import identity_grid
from workers.methods.atlas.agreement import Congealed, congealed
from workers.methods.neural_congealing.inputs import DescribedSet
from workers.methods.neural_congealing.result import CongealingResult
from workers.methods.neural_congealing.views import Describer


def congealed_features(
    result: CongealingResult, described: DescribedSet, describe: Describer | None, tick: Tick
) -> Congealed:
    """See the features of all images through the atlas.

    Args:
        result: of the alignment.
        described: the same images. Features of the mirrored pictures, if given, are read for those that are mirrored.
        describe: describes the pictures anew, turned and scaled as the alignment says; without it the given features
            are read.
        tick: called for every image.
    """
    features = described.features
    return congealed(
        (_view(result, described, describe, index) for index in range(len(features))),
        features.mean(dim=(0, 2, 3)),
        result.grids,
        described.frames.valid(features.shape[-1]),
        result.atlas_saliency,
        tick,
    )


def _view(
    result: CongealingResult, described: DescribedSet, describe: Describer | None, index: int
) -> tuple[Tensor, Tensor]:
    """Features (1, C, h, w) of an image, and the grid (1, A, A, 2) from the atlas to them."""
    mirrored, one = bool(result.mirrored[index]), slice(index, index + 1)
    if describe is not None:
        cells = identity_grid(*result.flows.shape[1:3], device=result.flows.device)
        maps = describe([index], result.matrices[one], [mirrored], cells=described.features.shape[-1])
        return maps, cells + result.flows[one]
    if mirrored and described.mirrored_features is not None:
        return described.mirrored_features[one], result.grids[one] * result.grids.new_tensor([-1.0, 1.0])
    return described.features[one], result.grids[one]
