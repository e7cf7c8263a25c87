"""Read a finished result back from its folder, for a method that adds images to it."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue

from alignment.storage_format import SAFETENSORS_MEDIA_TYPE, memory_map, read_form
from api_schemas.manifest import Artifact, ArtifactKind, Manifest
from workers.methods.base import BaseResult
from workers.protocol import MANIFEST_NAME

_JSON = "application/json"
_IMAGE_TENSORS = "tensors/"
_OF_THE_SERVICE = (ArtifactKind.TRANSFORMS, ArtifactKind.SELF_CHECK)


def read_base(folder: Path) -> BaseResult:
    """Read a result folder, in which pictures may be missing; maps and tensors of images stay on disk, memory-mapped.

    Raises:
        FileNotFoundError: another artifact is missing.
    """
    manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    tensors = {
        name: np.array(memory_map(folder / artifact.name)[name], dtype=np.float32)
        for artifact in manifest.artifacts
        if (name := _tensor_name(artifact)) is not None
    }
    return BaseResult(
        form=read_form(manifest, lambda name: folder / name),
        tensors=tensors,
        scores=[row for artifact in manifest.artifacts for row in _scores(folder, artifact)],
        backbone_identity=manifest.backbone_identity,
        documents={
            artifact.name.removesuffix(".json"): json.loads((folder / artifact.name).read_bytes())
            for artifact in manifest.artifacts
            if artifact.media_type == _JSON and artifact.kind not in _OF_THE_SERVICE
        },
        image_tensors=_image_tensors(folder, manifest),
    )


def _tensor_name(artifact: Artifact) -> str | None:
    """Name the tensor that a method handed in by itself; None for other artifacts, which lie in folders."""
    if artifact.media_type != SAFETENSORS_MEDIA_TYPE or "/" in artifact.name:
        return None
    return artifact.name.removesuffix(".safetensors")


def _image_tensors(folder: Path, manifest: Manifest) -> dict[str, list[npt.NDArray[np.float32]]]:
    """Map the tensors of single images into memory, those of each name in the order of the images."""
    found: dict[str, dict[int, npt.NDArray[np.float32]]] = {}
    for artifact in manifest.artifacts:
        if artifact.media_type == SAFETENSORS_MEDIA_TYPE and artifact.name.startswith(_IMAGE_TENSORS):
            name = Path(artifact.name).parent.name
            (index,) = artifact.images
            found.setdefault(name, {})[index] = memory_map(folder / artifact.name)[name]
    return {name: [arrays[index] for index in sorted(arrays)] for name, arrays in found.items()}


def _scores(folder: Path, artifact: Artifact) -> list[dict[str, JsonValue]]:
    if artifact.kind is not ArtifactKind.TRANSFORMS:
        return []
    rows = json.loads((folder / artifact.name).read_bytes())["images"]
    return [{key: value for key, value in row.items() if key not in ("index", "name")} for row in rows]
