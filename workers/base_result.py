"""Read a finished result back from its folder, for a method that adds images to it."""

import json
from pathlib import Path

import numpy as np

from alignment.storage_format import SAFETENSORS_MEDIA_TYPE, memory_map, read_form
from api_schemas.manifest import Artifact, ArtifactKind, Manifest
from workers.methods.base import BaseResult
from workers.protocol import MANIFEST_NAME


def read_base(folder: Path) -> BaseResult:
    """Read a result folder, in which pictures may be missing; maps stay on disk, memory-mapped.

    Raises:
        FileNotFoundError: another artifact is missing.
    """
    manifest = Manifest.model_validate_json((folder / MANIFEST_NAME).read_bytes())
    tensors = {
        name: np.array(memory_map(folder / artifact.name)[name], dtype=np.float32)
        for artifact in manifest.artifacts
        if (name := _tensor_name(artifact)) is not None
    }
    scores = [row for artifact in manifest.artifacts for row in _scores(folder, artifact)]
    return BaseResult(form=read_form(manifest, lambda name: folder / name), tensors=tensors, scores=scores)


def _tensor_name(artifact: Artifact) -> str | None:
    """Name the tensor that a method handed in by itself; None for other artifacts, which lie in folders."""
    if artifact.media_type != SAFETENSORS_MEDIA_TYPE or "/" in artifact.name:
        return None
    return artifact.name.removesuffix(".safetensors")


def _scores(folder: Path, artifact: Artifact) -> list[dict[str, float | bool]]:
    if artifact.kind is not ArtifactKind.TRANSFORMS:
        return []
    rows = json.loads((folder / artifact.name).read_bytes())["images"]
    return [{key: value for key, value in row.items() if key not in ("index", "name")} for row in rows]
