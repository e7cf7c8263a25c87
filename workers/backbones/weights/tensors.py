"""Tensors from files: safetensors only, nothing is ever unpickled."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from workers.backbones.weights.errors import WeightsError

HEADER_AT = 8
"""A safetensors file starts with the length of its JSON header in eight bytes, then the header."""
ZIP_MAGIC = b"PK\x03\x04"
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
