"""How many embeddings go through the network at once, and what is done when memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from workers.memory import is_out_of_memory
from workers.methods.sd_correspondence.reader import Reader

_CPU_ITEMS = 4
_MOST_ITEMS = 64
_ITEM_BYTES = 0.7e9
"""Activations of one embedding at 512 pixels in float32, kept for the way back."""
_RESERVE = 0.8


class Passes:
    """Cuts work into passes; a pass that does not fit into memory is halved, and told."""

    def __init__(self, reader: Reader, log: Callable[[str], None], *, items: int) -> None:
        """Begin with passes of `items` embeddings."""
        self._reader, self._log = reader, log
        self.items = max(1, items)

    def run(self, items: Sequence[int], work: Callable[[Sequence[int]], None]) -> None:
        """Do `work` on all items, some at a time.

        Work that fails for want of memory is done again on half as many; a single item is then done with activations
        that are computed again instead of kept.
        """
        done = 0
        while done < len(items):
            part = items[done : done + self.items]
            try:
                work(part)
            except Exception as error:
                if not is_out_of_memory(error) or not self._relieved(len(part)):
                    raise
            else:
                done += len(part)

    def _relieved(self, tried: int) -> bool:
        """Make do with less memory from now on; False if there is no way left."""
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if tried > 1:
            self.items = tried // 2
            self._log(f"Memory ran out for {tried} embeddings at once; going on with {self.items}.")
            return True
        if not self._reader.low_memory:
            self._reader.low_memory = True
            self._log("Memory ran out for one embedding; going on slower, with activations computed twice.")
            return True
        return False


def first_items(device: torch.device, size: int) -> int:
    """Guess how many embeddings fit at once, for pictures of `size` pixels a side."""
    if device.type != "cuda":
        return _CPU_ITEMS
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(_MOST_ITEMS, int(_RESERVE * free / (_ITEM_BYTES * (size / 512) ** 2))))
