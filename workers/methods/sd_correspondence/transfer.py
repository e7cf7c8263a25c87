"""Read a picture with optimised embeddings (arXiv 2305.15581, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.backbones.base import Tick, no_tick
from workers.methods.sd_correspondence.crops import Window
from workers.methods.sd_correspondence.options import Options
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.reader import Reader, generator
from workers.methods.sd_correspondence.readout import Found, covered, joined, laid, located
from workers.methods.sd_correspondence.scene import FeatureSource, Scene, View, drawn_noise


@dataclass(frozen=True)
class Target:
    """A picture to be read.

    Attributes:
        scene: the picture.
        features: what the network attends with there, under the noise of reading.
        inside: (S, S) bool, pixels of the square that show the picture.
        seed: what the random numbers depend on; not on the embeddings, so that reading again gives the same.
        windows: crops to read where all embeddings share them.
    """

    scene: Scene
    features: FeatureSource
    inside: Tensor
    seed: tuple[object, ...]
    windows: Sequence[Window]


def units_to_read(windows: int, items: int, options: Options) -> int:
    """Count the crops that `read` tells of: those that all embeddings share, or each embedding's own."""
    return items * options.read_crops if options.adaptive else windows


def read(
    target: Target,
    embeddings: Tensor,
    tokens: int,
    reader: Reader,
    options: Options,
    passes: Passes,
    *,
    tick: Tick = no_tick,
    on_crop: Tick = no_tick,
) -> Iterator[list[Found]]:
    """Find the points of groups in a picture.

    Args:
        target: the picture.
        embeddings: (G, R, 77, D) of the groups, each from R rounds.
        tokens: most points that a group has.
        reader: the network.
        options: of the job.
        passes: how many embeddings go through the network at once.
        tick: called during the work.
        on_crop: called for each crop that is read, see `units_to_read`.

    Yields:
        Per group what was found of its points; of groups with fewer, what follows means nothing.
    """
    rounds = embeddings.shape[1]
    items = embeddings.flatten(0, 1).to(reader.device)
    reading = _Reading(target, reader, options, passes, tokens, on_crop)
    maps = reading.adaptive(items, rounds) if options.adaptive else reading.shared(items)
    inside = target.inside.to(items.device)
    for first in range(0, len(items), rounds):
        tick()
        by_round = torch.stack([next(maps) for _ in range(first, first + rounds)])
        yield [
            located(by_round[:, token], inside, sigma=options.sigma, fusion=options.fusion) for token in range(tokens)
        ]


@dataclass(frozen=True)
class _Reading:
    target: Target
    reader: Reader
    options: Options
    passes: Passes
    tokens: int
    on_crop: Tick

    def shared(self, items: Tensor) -> Iterator[Tensor]:
        """Maps (T, L, S, S) of each embedding (B, 77, D), read in the same crops under the same noise."""
        source = generator(*self.target.seed, "reading")
        views = [View(window, self._noise(source)) for window in self.target.windows]
        found = [self._of_all(view, items) for view in views]
        layers = [torch.stack(layer) for layer in zip(*found, strict=True)]
        for index in range(len(items)):
            yield joined([layer[:, index] for layer in layers], self.target.windows, self.target.scene.crops)

    def adaptive(self, items: Tensor, rounds: int) -> Iterator[Tensor]:
        """Maps (T, L, S, S) of each embedding; after the corners, each crop lies round the highest place so far."""
        crops = self.target.scene.crops
        for index in range(len(items)):
            source = generator(*self.target.seed, "reading", index % rounds)
            windows: list[Window] = []
            found: list[list[Tensor]] = []
            total = torch.zeros(crops.size, crops.size, device=items.device)
            for step in range(self.options.read_crops):
                if step < len(crops.corners()):
                    window = crops.corners()[step]
                else:
                    row, column = divmod(int((total / covered(windows, crops).to(total.device)).argmax()), crops.size)
                    window = crops.draw((column + 0.5, row + 0.5), source)
                windows.append(window)
                found.append(self._maps(View(window, self._noise(source)), items[index : index + 1]))
                self.on_crop()
                total += torch.stack([laid(layer, [window], crops).mean(0) for layer in found[-1]]).mean(0)
            yield joined([torch.cat(layer) for layer in zip(*found, strict=True)], windows, crops)

    def _noise(self, source: torch.Generator) -> Tensor:
        return drawn_noise(self.options.noise, self.target.scene.latent_shape, source)

    def _of_all(self, view: View, items: Tensor) -> list[Tensor]:
        """Per layer maps (B, T, s, s) of all embeddings, some at a time."""
        parts: list[list[Tensor]] = []

        def work(part: Sequence[int]) -> None:
            parts.append(self._maps(view, items[list(part)]))

        self.passes.run(range(len(items)), work)
        self.on_crop()
        return [torch.cat(layer) for layer in zip(*parts, strict=True)]

    @torch.no_grad()
    def _maps(self, view: View, items: Tensor) -> list[Tensor]:
        owners = torch.zeros(len(items), dtype=torch.long, device=items.device)
        return self.reader.attend(self.target.features([view], items, owners), items, self.tokens)
