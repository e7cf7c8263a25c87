"""What a job of Stable Diffusion correspondence costs, estimated before it is queued.

The parts were counted by torch's flop counter on the configuration of SD 1.4 at 512 pixels: two operations a
multiply-add, one crop.
"""

from dataclasses import dataclass
from math import ceil

_ENCODE, _FORWARD, _BACKWARD, _PREFIX = 1.1167, 0.4794, 0.4705, 0.0419
"""TFLOP of the autoencoder's encoder; of the U-Net up to the last layer that is read, and back; of its part that no
embedding changes."""
_READ_STEP, _READ = 0.0013, 0.0007
"""TFLOP of a step, and of a reading, on features that are fixed."""
_CORNERS = 4
_FILLED, _SPARSE_GROUPS = 0.6, 2
_OFFICIAL_SIZE = 512
_UNET_AND_VAE_BYTES = 3.77e9
_EMBEDDING_BYTES = 77 * 768 * 4
_PROCESS_BYTES = 1.2e9
_PASS_BYTES = 3.0e9
"""Activations of the four embeddings that go through the network at once on a CPU."""
_CANVAS_BYTES = 16 * 8 * 4
"""A query batch's maps while they are joined, per pixel."""
_FEATURE_BYTES = 3.3e6


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is to be done, in numbers."""

    queries: tuple[int, ...]
    """Points on each source image."""
    targets: tuple[int, ...]
    """Images in which they are looked for."""
    images: int
    size: int
    rounds: int
    steps: int
    bank: int
    windows: int
    """Places where a crop can lie: none is encoded twice."""
    read_crops: int
    points_per_embedding: int
    fixed_features: bool
    cycle: bool

    @property
    def embeddings(self) -> int:
        """That are optimised, without those of the way back."""
        return sum(self._groups(count) * self.rounds for count in self.queries)

    def tflop(self, weights_bytes: float = _UNET_AND_VAE_BYTES) -> float:
        """Estimate all of it in 10^12 operations, for a checkpoint of so many bytes."""
        sources = list(zip(self.queries, self.targets, strict=True))
        there = sum(self._optimised(count) + self._read(count, targets) for count, targets in sources)
        back = sum(targets * (self._optimised(count) + self._read(count, 1)) for count, targets in sources)
        scale = (self.size / _OFFICIAL_SIZE) ** 2 * min(1.0, weights_bytes / _UNET_AND_VAE_BYTES)
        return scale * (self._encoded() + there + (back if self.cycle else 0.0))

    def _groups(self, queries: int) -> int:
        """Embeddings of a round; points that share one lie apart, so that groups are not full."""
        if self.points_per_embedding == 1:
            return queries
        return min(queries, ceil(queries / (_FILLED * self.points_per_embedding)) + _SPARSE_GROUPS)

    def _encoded(self) -> float:
        """Crops that go through the autoencoder, and where features are fixed through the U-Net too."""
        bank = self.bank or self.windows
        banks = sum(min(bank, self._groups(count) * self.rounds * self.steps) for count in self.queries)
        if self.cycle:
            banks += max(self.targets) * bank
        read = self.read_crops if self.bank else self.windows
        crop = _ENCODE + (_FORWARD if self.fixed_features else 0.0)
        return crop * (banks + self.images * min(read, self.read_crops * self.embeddings))

    def _optimised(self, queries: int) -> float:
        items = self._groups(queries) * self.rounds
        if self.fixed_features:
            return items * self.steps * _READ_STEP
        return items * self.steps * (_FORWARD + _BACKWARD - _PREFIX * (1 - 1 / self.rounds))

    def _read(self, queries: int, targets: int) -> float:
        """Target maps, and the source's own from the four corners."""
        readings = self._groups(queries) * self.rounds * (targets * self.read_crops + _CORNERS)
        return readings * (_READ if self.fixed_features else _FORWARD)


def peak_bytes(work: Work, weights_bytes: int) -> int:
    """Estimate the memory that a worker's process needs at most."""
    area = (work.size / _OFFICIAL_SIZE) ** 2
    scale = min(1.0, weights_bytes / _UNET_AND_VAE_BYTES)
    kept = 2 * work.embeddings * _EMBEDDING_BYTES
    canvases = _CANVAS_BYTES * work.size**2 * (work.rounds + 4)
    features = area * _FEATURE_BYTES * (work.bank + work.read_crops) if work.fixed_features else 0.0
    return round(_PROCESS_BYTES + weights_bytes + kept + canvases + features + scale * area * _PASS_BYTES)
