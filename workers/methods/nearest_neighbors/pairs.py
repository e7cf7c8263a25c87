"""The maps of all pairs, and the state from which a lost run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize
from workers.matching.dense import DenseMap

CHECKPOINT_BYTES = 256 * 1024 * 1024
"""Of maps in a checkpoint. Pairs beyond are matched again by a run that goes on from it."""

Pair = tuple[int, int]
State = dict[str, Tensor]


class MatchedPairs:
    """Maps of the ordered pairs matched so far, on the CPU."""

    def __init__(self, sizes: tuple[ImageSize, ...], resume: Mapping[str, Tensor] | None = None) -> None:
        """Begin with the pairs of a state once given by `state`, or with none.

        Args:
            sizes: of the images.
            resume: such a state.
        """
        self._sizes = sizes
        self._maps: dict[Pair, Tensor] = {}
        self._cut = False
        for name, packed in (resume or {}).items():
            source, target = name.split("-")
            self._maps[int(source), int(target)] = packed

    def __contains__(self, pair: Pair) -> bool:
        """Whether both directions of a pair are matched."""
        return pair in self._maps and pair[::-1] in self._maps

    def add(self, pair: Pair, there: DenseMap, back: DenseMap) -> None:
        """Take in both directions of a pair."""
        for (source, target), dense in ((pair, there), (pair[::-1], back)):
            size = self._sizes[target]
            pixels = dense.points * dense.points.new_tensor([size.width, size.height])
            self._maps[source, target] = torch.cat([pixels, dense.confidence.unsqueeze(2)], dim=2).cpu()

    @property
    def state(self) -> Callable[[], State] | None:
        """What gives the state for a checkpoint; None before the first pair, and once a checkpoint holds all it may."""
        return self._first_maps if self._maps and not self._cut else None

    def form(self) -> PairwiseMaps:
        """The result."""
        return PairwiseMaps(
            images=self._sizes,
            maps={pair: packed[..., :2].numpy() for pair, packed in self._maps.items()},
            confidence={pair: packed[..., 2].numpy() for pair, packed in self._maps.items()},
        )

    def _first_maps(self) -> State:
        """By `source-target`, maps (h, w, 3) of pixels and confidence: the first ones, within the bound."""
        state: State = {}
        held = 0
        for (source, target), packed in self._maps.items():
            held += packed.nbytes
            if held > CHECKPOINT_BYTES:
                self._cut = True
                break
            state[f"{source}-{target}"] = packed
        return state
