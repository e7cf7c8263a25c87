"""Arrays in safetensors files, and what the manifest says of them."""

import json
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from api_schemas.manifest import ArtifactDraft, ArtifactKind, Tensor

SAFETENSORS_MEDIA_TYPE = "application/vnd.safetensors"
_DTYPES = {"I16": np.int16, "F16": np.float16, "F32": np.float32, "F64": np.float64}
_DTYPE_NAMES = {np.dtype(dtype): name for name, dtype in _DTYPES.items()}


def write_tensors(
    folder: Path,
    name: str,
    kind: ArtifactKind,
    tensors: Sequence[tuple[Tensor, npt.NDArray[np.generic]]],
    images: list[int],
) -> ArtifactDraft:
    """Write one safetensors artifact and describe it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # A plain `ascontiguousarray` makes a row of a single number.
    save_file({tensor.name: np.ascontiguousarray(array).reshape(array.shape) for tensor, array in tensors}, path)
    described = [tensor for tensor, _ in tensors]
    return ArtifactDraft(name=name, kind=kind, media_type=SAFETENSORS_MEDIA_TYPE, images=images, tensors=described)


def describe(
    name: str, array: npt.NDArray[np.generic], axes: list[str], frame: str, *, missing: str | None = None
) -> tuple[Tensor, npt.NDArray[np.generic]]:
    """Pair an array with its description for the manifest."""
    dtype, shape = _DTYPE_NAMES[array.dtype], list(array.shape)
    return Tensor(name=name, dtype=dtype, shape=shape, axes=axes, frame=frame, missing=missing), array


def memory_map(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Map the tensors of a safetensors file into memory without reading them.

    The file is an 8-byte little-endian header length, the JSON header, then the bytes; offsets count from the header.
    """
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    header.pop("__metadata__", None)
    return {
        name: np.memmap(
            path,
            dtype=_DTYPES[entry["dtype"]],
            mode="r",
            offset=8 + length + entry["data_offsets"][0],
            shape=tuple(entry["shape"]),
        )
        for name, entry in header.items()
    }
