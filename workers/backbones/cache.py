"""Features of images that were described before: a folder shared by all jobs and workers of a machine.

Entries are addressed by what they are: the digest of the picture that the backbone sees and the backbone's identity
(name, options, weights, precision). They are written beside their place and renamed onto it, so that neither another
worker nor a crash ever shows half of one; whichever was not used for longest goes first when the folder is full.
"""

import hashlib
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

import structlog
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from workers.backbones.base import Backbone, Tick, no_tick

SUFFIX = ".safetensors"
_TEMPORARY = ".tmp-"
_ABANDONED_S = 3600.0
_KEPT = 0.9
_UNSWEPT = 1 / 32
_LARGEST = 1 / 4
_TENSOR = "features"

log = structlog.get_logger("workers.cache")


class FeatureCache:
    """A bounded folder of feature maps; safe under concurrent processes. Losing it costs time, nothing else."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        """Keep entries in `folder`, which is made when missing, and at most about `max_bytes` of them."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._unswept_bytes = max_bytes

    def get(self, key: str) -> Tensor | None:
        """Return the features stored under a key, on the CPU, or None. An entry that cannot be read is removed."""
        path = self._path(key)
        try:
            features = load(path.read_bytes())[_TENSOR]
            os.utime(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (SafetensorError, OSError, KeyError) as error:
            log.warning("a cached feature map is damaged and was removed", entry=path.name, error=str(error))
            _remove(path)
            return None
        return features

    def put(self, key: str, features: Tensor) -> None:
        """Store features, unless they are too large for the folder or it cannot be written: then they are not kept."""
        data = save({_TENSOR: features.detach().cpu().contiguous()})
        if len(data) > self._max_bytes * _LARGEST:
            return
        try:
            self._write(self._path(key), data)
        except OSError as error:
            log.warning("features cannot be cached", folder=str(self._folder), error=str(error))
            return
        self._unswept_bytes += len(data)
        if self._unswept_bytes > self._max_bytes * _UNSWEPT:
            self.sweep()

    def sweep(self) -> None:
        """Remove the entries not used for longest until the folder is within its bound, and what crashes left."""
        self._unswept_bytes = 0
        entries = self._entries()
        total = sum(size for _, size, _ in entries)
        if total <= self._max_bytes:
            return
        for _, size, path in sorted(entries):
            _remove(path)
            total -= size
            if total <= self._max_bytes * _KEPT:
                return

    def _entries(self) -> list[tuple[float, int, Path]]:
        """List time of last use, size and path of all entries; other processes may remove some meanwhile."""
        entries = []
        for path in self._folder.glob(f"*/*{SUFFIX}"):
            with suppress(FileNotFoundError):
                stat = path.stat()
                if not path.name.startswith(_TEMPORARY):
                    entries.append((stat.st_mtime, stat.st_size, path))
                elif time.time() - stat.st_mtime > _ABANDONED_S:
                    _remove(path)
        return entries

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{_TEMPORARY}{secrets.token_hex(8)}{SUFFIX}")
        try:
            with temporary.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except BaseException:
            _remove(temporary)
            raise

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}{SUFFIX}"


def feature_key(backbone: Backbone, image: Tensor) -> str:
    """Address of what `backbone` says of an image (3, H, W): a SHA-256 in hex."""
    pixels = image.detach().cpu().contiguous()
    head = f"{backbone.identity}\n{pixels.dtype}\n{tuple(pixels.shape)}\n"
    return hashlib.sha256(head.encode() + pixels.numpy().tobytes()).hexdigest()


def blocks_cached(
    backbone: Backbone, images: Tensor, cache: FeatureCache | None, *, tick: Tick = no_tick
) -> tuple[tuple[Tensor, ...], int]:
    """Describe images as `backbone.blocks` does, but only those that the cache does not know; see `extract_cached`."""
    if len(backbone.block_channels) == 1:
        features, known = extract_cached(backbone, images, cache, tick=tick)
        return (features,), known
    described, known = [], 0
    for image in torch.split(images, 1):
        found = None if cache is None else _known_blocks(backbone, image, cache)
        known += found is not None
        blocks = found or backbone.blocks(image, tick=tick)
        if found is None and cache is not None:
            for key, block in zip(_block_keys(backbone, image), blocks, strict=True):
                cache.put(key, block[0])
        described.append(blocks)
    return tuple(torch.cat(block) for block in zip(*described, strict=True)), known


def _known_blocks(backbone: Backbone, image: Tensor, cache: FeatureCache) -> tuple[Tensor, ...] | None:
    found = [cache.get(key) for key in _block_keys(backbone, image)]
    blocks = tuple(block.unsqueeze(0).to(image.device) for block in found if block is not None)
    return blocks if len(blocks) == len(found) else None


def _block_keys(backbone: Backbone, image: Tensor) -> list[str]:
    key = feature_key(backbone, image[0])
    return [f"{key}-{index}" for index in range(len(backbone.block_channels))]


def extract_cached(
    backbone: Backbone, images: Tensor, cache: FeatureCache | None, *, tick: Tick = no_tick
) -> tuple[Tensor, int]:
    """Describe images as `backbone.extract` does, but only those that the cache does not know.

    Args:
        backbone: what describes.
        images: (N, 3, H, W).
        cache: where features are kept; None always describes.
        tick: called during the work.

    Returns:
        Features (N, C, h, w) on the images' device, and how many of the N came from the cache.
    """
    if cache is None:
        return backbone.extract(images, tick=tick), 0
    keys = [feature_key(backbone, image) for image in images]
    found = [cache.get(key) for key in keys]
    missing = [index for index, features in enumerate(found) if features is None]
    if missing:
        for index, features in zip(missing, backbone.extract(images[missing], tick=tick), strict=True):
            cache.put(keys[index], features)
            found[index] = features
    known = [features.to(images.device) for features in found if features is not None]
    return torch.stack(known), len(images) - len(missing)


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()
