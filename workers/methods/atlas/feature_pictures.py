"""Features as colours: principal components, the same for the atlas and for all images."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.matching.projection import principal_axes
from workers.methods.atlas.agreement import AGREEMENT_CELLS, Congealed
from workers.methods.atlas.pictures import Picture, as_picture
from workers.rendering.colour_map import coloured

SIDE = 256
COMPONENTS = 4
_SALIENT = 0.5
_UNSEEN_GREY = 0.91
_ATLAS = ("pictures/atlas_pca_first", "pictures/atlas_pca")
_IMAGES = ("congealed_pca_first", "congealed_pca")


def feature_pictures(congealed: Congealed, kept: Tensor) -> tuple[dict[str, Picture], dict[str, list[Picture]]]:
    """Pictures of the atlas, by artifact name, and of every image, by name; only kept (N,) images make up the atlas.

    Those named `first` show the first component in a perceptual colour map, the others components 2, 3 and 4 as red,
    green and blue. Components are fitted to the salient cells of all images; each is stretched to its own range over
    the whole set, and the atlas is shown in the same colours (the official implementation's pictures, with features
    seen through the atlas). Grey is what an image does not show.
    """
    components, variances = _components(congealed, kept)
    seen = congealed.seen.unsqueeze(1)
    low, high = _range(components, seen > 0.5)
    shares = seen * kept.view(-1, 1, 1)
    mean = (components * shares).sum(dim=0) / shares.sum(dim=0).clamp(min=1e-6)
    scaled = ((torch.cat([components, mean.unsqueeze(0)]) - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    scaled = torch.where(variances.view(1, -1, 1) > 0, scaled, 0.5)
    shown = torch.cat([seen, shares.amax(dim=0, keepdim=True)])
    pictures = [_pictures(values, here) for values, here in zip(scaled, shown, strict=True)]
    of_images = {name: [both[which] for both in pictures[:-1]] for which, name in enumerate(_IMAGES)}
    return dict(zip(_ATLAS, pictures[-1], strict=True)), of_images


def _components(congealed: Congealed, kept: Tensor) -> tuple[Tensor, Tensor]:
    """Principal components (N, 4, P) of all cells, and their variances (4,), 0 where the features have no more."""
    salient = congealed.saliency >= min(_SALIENT, float(congealed.saliency.max()) / 2)
    chosen = salient & (congealed.seen > 0.5)
    table = torch.cat([congealed.features[i][:, chosen[i]].T.float() for i in kept.nonzero().flatten().tolist()])
    channels = congealed.features.shape[1]
    variances, axes = table.new_zeros(COMPONENTS), table.new_zeros(channels, COMPONENTS)
    mean = table.mean(dim=0) if len(table) else table.new_zeros(channels)
    if len(table):
        values, vectors = principal_axes(table - mean, COMPONENTS)
        largest = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True))
        variances[: len(values)], axes[:, : len(values)] = values, vectors * largest.sign()
    found = [axes.T @ (vectors.float() - mean.unsqueeze(1)) for vectors in congealed.features]
    return torch.stack(found), variances


def _range(components: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Least and largest value (4, 1) of each component where images are seen."""
    low = torch.where(seen, components, torch.inf).amin(dim=(0, 2))
    high = torch.where(seen, components, -torch.inf).amax(dim=(0, 2))
    known = low <= high
    return torch.where(known, low, 0.0).unsqueeze(1), torch.where(known, high, 1.0).unsqueeze(1)


def _pictures(values: Tensor, seen: Tensor) -> tuple[Picture, Picture]:
    """The pictures of components (4, P) in [0, 1] where seen (1, P) is: the first alone, and the other three."""
    maps = torch.cat([values, seen]).view(1, -1, AGREEMENT_CELLS, AGREEMENT_CELLS)
    large = interpolate(maps, (SIDE, SIDE), mode="bilinear")[0]
    shown = large[COMPONENTS:].clamp(0, 1)
    first, others = (
        as_picture(shown * rgb + (1 - shown) * _UNSEEN_GREY) for rgb in (coloured(large[0]), large[1:COMPONENTS])
    )
    return first, others
