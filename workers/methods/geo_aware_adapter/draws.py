"""What a step of the training learns from, drawn from nothing but the seed and the step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workers.methods.geo_aware_adapter.data import TrainingSet
from workers.methods.geo_aware_adapter.objective import TERMS, Pairing
from workers.methods.geo_aware_adapter.options import AdapterOptions

_SEED_STRIDE = 1_000_003
_MOST_VIEWS = 1 << 12


@dataclass(frozen=True)
class Draw:
    """Pictures of one category, and pairs of them; on the CPU.

    Attributes:
        images: (m,) int64, in the training set.
        sources: (P,) int64, among these m.
        targets: (P,) int64.
        noise: (P, 4, K, 2) of deviation 1.
        seed: of the features to be dropped.
    """

    images: Tensor
    sources: Tensor
    targets: Tensor
    noise: Tensor
    seed: int

    def pairing(self, noise_scale: float, device: torch.device) -> Pairing:
        """The pairs, for the loss."""
        return Pairing(self.sources.to(device), self.targets.to(device), self.noise.to(device), noise_scale)

    def dropout_seed(self, view: int) -> int:
        """Of the pictures from this one on; another one for each."""
        return self.seed * _MOST_VIEWS + view


def drawn(data: TrainingSet, options: AdapterOptions, *, seed: int, step: int) -> Draw:
    """Draw for a step.

    A pair is drawn among all, then more pictures of its category; of these all pairs count that show a keypoint in
    common, each once, in a random direction.
    """
    seed = seed * _SEED_STRIDE + step
    generator = torch.Generator().manual_seed(seed)
    pairs = data.pairs
    first = pairs[int(torch.randint(len(pairs), (1,), generator=generator))]
    categories = data.categories.cpu()
    others = (categories == categories[first[0]]).index_fill(0, first, value=False).nonzero().flatten()
    others = others[torch.isin(others, pairs)]
    more = others[torch.randperm(len(others), generator=generator)[: options.batch_images - 2]]
    images = torch.cat([first, more]).sort().values
    among = pairs[torch.isin(pairs, images).all(dim=1)]
    local = torch.searchsorted(images, among)
    turned = torch.rand(len(local), generator=generator) < 0.5
    sources, targets = local.where(~turned.unsqueeze(1), local.flip(1)).unbind(dim=1)
    noise = torch.randn(len(local), TERMS, data.points.shape[1], 2, generator=generator)
    return Draw(images, sources, targets, noise, seed)


def drop(blocks: tuple[Tensor, ...], share: float, seed: int) -> None:
    """Set a share of the values of blocks, drawn one by one, to 0 and raise the others to make up for it, in place."""
    if share == 0:
        return
    generator = torch.Generator(blocks[0].device).manual_seed(seed)
    for block in blocks:
        mask = torch.empty_like(block).bernoulli_(1 - share, generator=generator)
        block.mul_(mask).div_(1 - share)
