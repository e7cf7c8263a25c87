"""Write a `Shape` into a result folder and read it back, its maps memory-mapped."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from alignment.camera import Camera
from alignment.glb import GLB_MEDIA_TYPE, read_glb, write_glb
from alignment.sampling import ImageSize
from alignment.shape import Shape
from alignment.tensor_files import describe, memory_map, write_tensors
from api_schemas.manifest import ArtifactDraft, ArtifactKind

MESH_NAME = "canonical/mesh.glb"
TEXELS_NAME = "canonical/texels.safetensors"
CAMERAS_NAME = "cameras.json"
_SPACE = "canonical_space"
_CONFIDENCE = "share"
_NOTHING_SHOWN = "NaN where the image does not show the object"
_NO_SURFACE = "NaN where the texture shows no surface"


def write_shape(shape: Shape, folder: Path) -> list[ArtifactDraft]:
    """Write the mesh, what its texture shows, the cameras, and what every image shows."""
    texels = describe("texels", shape.texels.astype(np.float32), ["y", "x", "xyz"], _SPACE, missing=_NO_SURFACE)
    drafts = [
        _write(write_glb(shape.mesh), MESH_NAME, ArtifactKind.MESH, GLB_MEDIA_TYPE, folder),
        write_tensors(folder, TEXELS_NAME, ArtifactKind.TEXELS, [texels], images=[]),
        _write_cameras(shape, folder),
    ]
    for index, (coordinates, confidence) in enumerate(zip(shape.coordinates, shape.confidence, strict=True)):
        tensors = [
            describe("map", coordinates.astype(np.float32), ["y", "x", "xyz"], _SPACE, missing=_NOTHING_SHOWN),
            describe("confidence", confidence.astype(np.float16), ["y", "x"], _CONFIDENCE),
        ]
        drafts.append(write_tensors(folder, _map_name(index), ArtifactKind.MAP_TO_CANONICAL, tensors, [index]))
    return drafts


def read_shape(sizes: Sequence[ImageSize], resolve: Callable[[str], Path]) -> Shape:
    """Open a stored shape; see `alignment.storage_format.read_form`."""
    maps = [memory_map(resolve(_map_name(index))) for index in range(len(sizes))]
    return Shape(
        images=tuple(sizes),
        mesh=read_glb(resolve(MESH_NAME).read_bytes()),
        cameras=_read_cameras(resolve(CAMERAS_NAME), len(sizes)),
        coordinates=tuple(tensors["map"] for tensors in maps),
        confidence=tuple(tensors["confidence"] for tensors in maps),
        texels=memory_map(resolve(TEXELS_NAME))["texels"],
    )


def pose_of(camera: Camera, size: ImageSize) -> dict[str, JsonValue]:
    """Describe the camera of an image of that size in JSON, in both usual conventions."""
    return {
        "camera_to_world": np.asarray(camera.to_world, dtype=np.float64).tolist(),
        "fov_deg": float(camera.fov_deg),
        "world_to_camera": camera.world_to_camera.tolist(),
        "intrinsics": camera.intrinsics(size).tolist(),
    }


def _write_cameras(shape: Shape, folder: Path) -> ArtifactDraft:
    cameras: list[JsonValue] = [
        {"index": index, "pose": None if camera is None else pose_of(camera, size)}
        for index, (camera, size) in enumerate(zip(shape.cameras, shape.images, strict=True))
    ]
    content = json.dumps({"cameras": cameras}, indent=1, allow_nan=False) + "\n"
    return _write(content.encode(), CAMERAS_NAME, ArtifactKind.CAMERAS, "application/json", folder)


def _read_cameras(path: Path, count: int) -> tuple[Camera | None, ...]:
    cameras: list[Camera | None] = [None] * count
    for row in json.loads(path.read_bytes())["cameras"]:
        if row["pose"] is not None:
            cameras[row["index"]] = Camera(np.array(row["pose"]["camera_to_world"]), row["pose"]["fov_deg"])
    return tuple(cameras)


def _write(content: bytes, name: str, kind: ArtifactKind, media_type: str, folder: Path) -> ArtifactDraft:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return ArtifactDraft(name=name, kind=kind, media_type=media_type)


def _map_name(index: int) -> str:
    return f"maps/coordinates/{index:03d}.safetensors"
