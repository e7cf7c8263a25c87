"""Tensors from files: safetensors only, nothing is ever unpickled."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from workers.backbones.weights.errors import WeightsError

HEADER_AT = 8
"""A safetensors file starts with the length of its JSON header in eight bytes, then the header."""
ZIP_MAGIC = b"PK\x03\x04"
_SHOWN = 3
PICKLE_STARTS = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a safetensors file by name, onto the CPU.

    Raises:
        WeightsError: it is no whole safetensors file, or may not be read.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(HEADER_AT + 1)
        if is_pickle(head):
            raise WeightsError(
                f"weights {path} are a pickle, which could run any code when read; put the safetensors file of the "
                "same network in its place, as `congeal weights pull` brings it"
            )
        return load_file(path)
    except PermissionError as error:
        raise WeightsError(f"weights {path} may not be read by this user; change the rights of the file") from error
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights {path} are no whole safetensors file: {error}") from error


def is_pickle(head: bytes) -> bool:
    """Tell from its first nine bytes whether a file is a pickle, raw or in a zip archive as torch saves it."""
    if head[HEADER_AT:] == b"{":
        return False
    return head.startswith((ZIP_MAGIC, *PICKLE_STARTS))


def fill(network: nn.Module, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Give a network its tensors: all of them, and no others.

    Args:
        network: may lie on the meta device.
        tensors: by name; the network takes them over as they are.
        source: where they come from, for the message.

    Raises:
        WeightsError: tensors are missing, unexpected or of another shape; names some.
    """
    wanted = network.state_dict()
    common = wanted.keys() & tensors.keys()
    faults = {
        "missing": wanted.keys() - tensors.keys(),
        "unexpected": tensors.keys() - wanted.keys(),
        "of another shape": {name for name in common if wanted[name].shape != tensors[name].shape},
    }
    if any(faults.values()):
        found = "; ".join(f"{len(names)} {fault}: {_some(names)}" for fault, names in faults.items() if names)
        raise WeightsError(
            f"weights {source} do not fit their network: {found}; bring its own with `congeal weights pull`"
        )
    network.load_state_dict(tensors, strict=True, assign=True)


def _some(names: Iterable[str]) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:_SHOWN]) + (", ..." if len(ordered) > _SHOWN else "")
