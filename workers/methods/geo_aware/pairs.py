"""The maps of pairs, what speaks for them, and the state from which a lost run goes on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from alignment.sampling import ImageSize
from workers.matching.soft_argmax import Softness
from workers.methods.features import Heartbeat
from workers.methods.geo_aware.choices import Pair, PairChoice
from workers.methods.geo_aware.evidence import SideMaps, pair_maps
from workers.methods.geo_aware.inputs import Looks

CHECKPOINT_BYTES = 256 * 1024 * 1024
"""Of maps in a checkpoint. Pairs beyond are matched again by a run that goes on from it."""
EVIDENCE = ("peak", "margin", "entropy", "cycle")

State = dict[str, Tensor]


@dataclass
class MatchedPairs:
    """Maps of the ordered pairs matched so far, on the CPU.

    Attributes:
        sizes: of the images.
        is_kept: whether there is a state at all.
        native: per pair (h, w, 7): pixels x and y of the target, confidence, and the evidence.
        mirrored: per pair whose mirrored variant was chosen (h, w, 3): pixels and confidence of the mirrored picture.
    """

    sizes: tuple[ImageSize, ...]
    is_kept: bool = True
    native: dict[Pair, Tensor] = field(default_factory=dict)
    mirrored: dict[Pair, Tensor] = field(default_factory=dict)
    _cut: bool = False

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` once gave."""
        for name, packed in state.items():
            kind, source, target = name.split("-")
            kept = self.native if kind == "native" else self.mirrored
            kept[int(source), int(target)] = packed

    def add(self, pair: Pair, maps: SideMaps) -> None:
        """Take in the map of a pair."""
        parts = [maps.confidence, *(getattr(maps, name) for name in EVIDENCE)]
        self.native[pair] = torch.cat([self._pixels(pair, maps), torch.stack(parts, dim=2)], dim=2).cpu()

    def add_mirrored(self, pair: Pair, maps: SideMaps) -> None:
        """Take in the map of a pair whose source is mirrored."""
        self.mirrored[pair] = torch.cat([self._pixels(pair, maps), maps.confidence.unsqueeze(2)], dim=2).cpu()

    @property
    def state(self) -> Callable[[], State] | None:
        """What gives the state for a checkpoint; None before the first pair, and once a checkpoint holds all it may."""
        return self._first_maps if self.is_kept and self.native and not self._cut else None

    def _pixels(self, pair: Pair, maps: SideMaps) -> Tensor:
        size = self.sizes[pair[1]]
        return maps.points * maps.points.new_tensor([size.width, size.height])

    def _first_maps(self) -> State:
        """Maps by kind, source and target: the first ones, within the bound."""
        state: State = {}
        held = 0
        for pair, packed in self.native.items():
            kept = {"native": packed} | ({"mirrored": self.mirrored[pair]} if pair in self.mirrored else {})
            held += sum(maps.nbytes for maps in kept.values())
            if held > CHECKPOINT_BYTES:
                self._cut = True
                break
            state |= {f"{kind}-{pair[0]}-{pair[1]}": maps for kind, maps in kept.items()}
        return state


def match_pairs(
    looks: Looks, picked: Mapping[Pair, PairChoice], softness: Softness, done: MatchedPairs, pulse: Heartbeat
) -> None:
    """Match all pairs that are not done yet; both directions at once where neither source is moved."""
    pairs = list(picked)
    for number, pair in enumerate(pairs):
        if pair not in done.native:
            tick = partial(pulse.step, number, len(pairs), state=done.state)
            match = partial(_match, looks, softness=softness, tick=tick)
            choice, back = picked[pair], picked.get(pair[::-1])
            there, returned = match(pair, choice.native)
            if choice.is_mirrored:
                done.add_mirrored(pair, match(pair, choice.best)[0])
            done.add(pair, there)
            # The first direction's similarities serve the other one too, if both pictures are as they are.
            if back is not None and choice.native == back.native == 0 and not back.is_mirrored:
                done.add(pair[::-1], returned)
        pulse.step(number + 1, len(pairs), state=done.state)


def _match(
    looks: Looks, pair: Pair, variant: int, *, softness: Softness, tick: Callable[[], None]
) -> tuple[SideMaps, SideMaps]:
    source, target = pair
    return pair_maps(
        looks.inner(variant, source),
        looks.inner(0, target),
        softness,
        source_mask=looks.inner_mask(variant, source),
        target_mask=looks.inner_mask(0, target),
        tick=tick,
    )


def ordered(pairs: Sequence[Pair] | None, count: int) -> list[Pair]:
    """All ordered pairs of images, or those asked for, a pair and its reverse next to each other."""
    wanted = {(i, j) for i in range(count) for j in range(count) if i != j} if pairs is None else set(pairs)
    return sorted(wanted, key=lambda pair: (min(pair), max(pair), pair))
