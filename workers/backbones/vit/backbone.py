"""Vision transformers as backbones.

Places are described as in Deep ViT Features (arXiv 2112.05814): by keys, queries, values, tokens or attention of any
block, on a grid that overlapping patches make finer.
"""

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from api_schemas.backbones import FeatureOptions
from workers.backbones.base import Backbone, Compute, Tick, cells_of, check_images, no_tick
from workers.backbones.identity import identity, settled
from workers.backbones.vit.framing import fitted, normalised, spread
from workers.backbones.vit.log_bins import BINS, log_bins
from workers.backbones.vit.network import View, VitNetwork

_PASS_TOKENS = 8192


class VitBackbone(Backbone):
    """One view of a transformer: a layer and a facet at a stride. Vectors are not normalised.

    Images are resized to whole patches; the patches' features are read at equal cells over the whole image.
    """

    def __init__(self, network: VitNetwork, *, name: str, options: FeatureOptions, compute: Compute) -> None:
        """Read `network` as the options say.

        Args:
            network: loaded; may serve other backbones too.
            name: as users type it.
            options: layer, facet, stride and log_bins, all set.
            compute: where the network lies, and how large batches may be.

        Raises:
            ValueError: an option is left out or does not fit the network.
        """
        self.name, self.options = name, options
        self.stride = settled(options.stride)
        if self.stride < 1 or network.patch % self.stride:
            raise ValueError(f"stride {self.stride} does not divide the patch of {network.patch} pixels")
        self._network, self._compute = network, compute
        self.dim = network.heads if self._view(options).facet == "attention" else network.dim
        if settled(options.log_bins):
            self.dim *= BINS
        self.identity = identity(name, options, digest=network.digest, dtype=compute.dtype)

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        """Describe images; see `Backbone.extract`."""
        return self.extract_all(images, [self.options], tick=tick)[0]

    @torch.no_grad()
    def extract_all(self, images: Tensor, options: Sequence[FeatureOptions], *, tick: Tick = no_tick) -> list[Tensor]:
        """Describe images in several ways in one pass.

        Args:
            images: as in `Backbone.extract`.
            options: for each way layer, facet and log_bins; what is left out is as in this backbone.
            tick: called during the work.

        Returns:
            For each of the options what `extract` of such a backbone returns.

        Raises:
            ValueError: the images cannot be described, the strides differ, or an option does not fit.
        """
        check_images(images)
        wanted = [self.options.model_copy(update={name: getattr(o, name) for name in o.given()}) for o in options]
        if any(option.stride != self.stride for option in wanted):
            raise ValueError(f"one pass has one stride, here {self.stride}; use another backbone for other strides")
        views = [self._view(option) for option in wanted]
        binned = [settled(option.log_bins) for option in wanted]
        parts = [self._described(some, views, binned, tick) for some in self._passes(images)]
        return [torch.cat(maps) for maps in zip(*parts, strict=True)]

    def _described(self, images: Tensor, views: list[View], binned: list[bool], tick: Tick) -> list[Tensor]:
        cells = cells_of(images, self.stride)
        inputs = normalised(fitted(images, self._network.patch))
        maps = self._network.describe(inputs, views, stride=self.stride, tick=tick)
        joined = (log_bins(each) if bins else each for each, bins in zip(maps, binned, strict=True))
        return [spread(each, cells, patch=self._network.patch, stride=self.stride) for each in joined]

    def _passes(self, images: Tensor) -> Iterator[Tensor]:
        """Cut images into batches that neither have too many pixels nor, where the stride is fine, too many tokens."""
        for batch in self._compute.batches(images):
            size = max(1, _PASS_TOKENS // prod(cells_of(batch, self.stride)))
            for start in range(0, len(batch), size):
                yield batch[start : start + size]

    def _view(self, options: FeatureOptions) -> View:
        view = View(settled(options.layer), settled(options.facet))
        if view.layer >= len(self._network.blocks):
            raise ValueError(f"there is no layer {view.layer}; the last is {len(self._network.blocks) - 1}")
        return view
