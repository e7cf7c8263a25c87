"""Checkpoints: safetensors files whose header tells which run they belong to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor


@dataclass(frozen=True)
class Checkpoint:
    """A state from which a run can go on."""

    state: dict[str, Tensor]
    stage: str
    step: int


class CheckpointMismatchError(Exception):
    """The file is no checkpoint of this run, or is damaged."""


def write_checkpoint(path: Path, state: Mapping[str, Tensor], *, digest: str, stage: str, step: int) -> None:
    """Write `state` so that `path` is either absent or whole.

    Args:
        path: the file to make; its folder exists.
        state: tensors of any device and layout; stored as contiguous copies.
        digest: names everything that decides the run's result.
        stage: stage that was under way.
        step: steps of the stage that were done.
    """
    part = path.with_suffix(".part")
    stored = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    save_file(stored, part, metadata={"digest": digest, "stage": stage, "step": str(step)})
    os.replace(part, path)


def read_checkpoint(path: Path, *, digest: str) -> Checkpoint:
    """Read a checkpoint onto the CPU.

    Raises:
        CheckpointMismatchError: the file has another digest or cannot be read.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as stored:
            header = stored.metadata() or {}
            if header.get("digest") != digest:
                raise CheckpointMismatchError("it was made with other images, parameters or code")
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
            return Checkpoint(state=state, stage=header["stage"], step=int(header["step"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise CheckpointMismatchError(f"it cannot be read: {error}") from error
