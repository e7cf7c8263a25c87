"""What a run has found so far, as a checkpoint keeps it."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_SEPARATOR = ":"


class Kept:
    """Sets of tensors by key."""

    def __init__(self, resume: Mapping[str, Tensor] | None = None) -> None:
        """Begin with what an earlier attempt kept, or with nothing."""
        self._known: dict[str, dict[str, Tensor]] = {}
        for name, tensor in (resume or {}).items():
            key, _, part = name.partition(_SEPARATOR)
            self._known.setdefault(key, {})[part] = tensor

    def get(self, key: str) -> dict[str, Tensor] | None:
        """Return what was kept under a key."""
        return self._known.get(key)

    def put(self, key: str, tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a key."""
        self._known[key] = dict(tensors)

    def drop(self, key: str) -> None:
        """Forget what was kept under a key, if anything was."""
        self._known.pop(key, None)

    def state(self) -> dict[str, Tensor]:
        """Everything, for a checkpoint."""
        return {
            f"{key}{_SEPARATOR}{part}": tensor for key, parts in self._known.items() for part, tensor in parts.items()
        }
