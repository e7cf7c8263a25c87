"""Meshes as GLB, the binary form of glTF 2.0 (Khronos; ISO/IEC 12113): one file with its texture inside.

Written and read here rather than by a library, so that a mesh comes back bit by bit, equal meshes have equal bytes, and
vertex colours are linear, as glTF has them. Places on the texture have y down in glTF as in `Mesh`: nothing is flipped.
"""

import io
import json
import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from alignment.mesh import GREY, Mesh

GLB_MEDIA_TYPE = "model/gltf-binary"
GENERATOR = "congeal"
_MAGIC, _VERSION = 0x46546C67, 2
_JSON_CHUNK, _BINARY_CHUNK = 0x4E4F534A, 0x004E4942
_ARRAY_BUFFER, _ELEMENT_ARRAY_BUFFER = 34962, 34963
_CLAMP_TO_EDGE, _LINEAR, _LINEAR_MIPMAP_LINEAR = 33071, 9729, 9987
_DTYPES: dict[int, np.dtype[Any]] = {5123: np.dtype("<u2"), 5125: np.dtype("<u4"), 5126: np.dtype("<f4")}
_COMPONENTS = {dtype: code for code, dtype in _DTYPES.items()}
_TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
_FULL = 65535
Array = npt.NDArray[Any]


def write_glb(mesh: Mesh) -> bytes:
    """Write a mesh; what has no colour is grey. The same mesh gives the same bytes."""
    buffer = _Buffer()
    indices = buffer.accessor(mesh.faces.reshape(-1, 1).astype("<u4"), _ELEMENT_ARRAY_BUFFER)
    attributes = {
        "POSITION": buffer.accessor(mesh.vertices.astype("<f4"), _ARRAY_BUFFER, bounded=True),
        "NORMAL": buffer.accessor(_normals(mesh).astype("<f4"), _ARRAY_BUFFER),
    }
    if mesh.colours is not None:
        attributes["COLOR_0"] = buffer.accessor(_linear(mesh.colours), _ARRAY_BUFFER, normalised=True)
    if mesh.uv is not None:
        attributes["TEXCOORD_0"] = buffer.accessor(mesh.uv.astype("<f4"), _ARRAY_BUFFER)
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": GENERATOR},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": indices, "material": 0, "mode": 4}]}],
        "materials": [_material(mesh)],
    }
    if mesh.texture is not None:
        document |= _texture(buffer.view(_png(mesh.texture)))
    document |= {
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.content)}],
    }
    chunks = _chunk(_JSON_CHUNK, json.dumps(document, separators=(",", ":")).encode(), b" ")
    chunks += _chunk(_BINARY_CHUNK, bytes(buffer.content), b"\0")
    return struct.pack("<III", _MAGIC, _VERSION, 12 + len(chunks)) + chunks


def read_glb(content: bytes) -> Mesh:
    """Read a mesh that `write_glb` wrote.

    Raises:
        ValueError: it is no GLB, or one that was made elsewhere.
    """
    document, binary = _parsed(content)
    if document.get("asset", {}).get("generator") != GENERATOR:
        raise ValueError("the GLB was made elsewhere; only files of `alignment.glb.write_glb` can be read back here")
    [primitive] = document["meshes"][0]["primitives"]
    arrays = {name: _read(document, binary, index) for name, index in primitive["attributes"].items()}
    colours = arrays.get("COLOR_0")
    return Mesh(
        vertices=arrays["POSITION"],
        faces=_read(document, binary, primitive["indices"]).reshape(-1, 3).astype(np.int32),
        colours=None if colours is None else _encoded(colours),
        uv=arrays.get("TEXCOORD_0"),
        texture=_picture(document, binary) if document.get("images") else None,
    )


class _Buffer:
    """The bytes that everything lies in, each part at a multiple of four."""

    def __init__(self) -> None:
        self.content = bytearray()
        self.views: list[dict[str, int]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, content: bytes, target: int | None = None) -> int:
        self.content += b"\0" * (-len(self.content) % 4)
        place = {"buffer": 0, "byteOffset": len(self.content), "byteLength": len(content)}
        self.views.append(place if target is None else {**place, "target": target})
        self.content += content
        return len(self.views) - 1

    def accessor(self, array: Array, target: int, *, bounded: bool = False, normalised: bool = False) -> int:
        described: dict[str, Any] = {
            "bufferView": self.view(array.tobytes(), target),
            "componentType": _COMPONENTS[array.dtype],
            "count": len(array),
            "type": _TYPES[array.shape[1]],
        }
        if bounded:
            described |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        if normalised:
            described["normalized"] = True
        self.accessors.append(described)
        return len(self.accessors) - 1


def _material(mesh: Mesh) -> dict[str, Any]:
    surface: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
    if mesh.texture is not None:
        surface["baseColorTexture"] = {"index": 0}
    elif not mesh.is_coloured:
        surface["baseColorFactor"] = [round(float(_levels()[GREY]) / _FULL, 4)] * 3 + [1.0]
    return {"pbrMetallicRoughness": surface, "doubleSided": True}


def _texture(view: int) -> dict[str, Any]:
    sampler = {
        "magFilter": _LINEAR,
        "minFilter": _LINEAR_MIPMAP_LINEAR,
        "wrapS": _CLAMP_TO_EDGE,
        "wrapT": _CLAMP_TO_EDGE,
    }
    return {
        "textures": [{"source": 0, "sampler": 0}],
        "samplers": [sampler],
        "images": [{"bufferView": view, "mimeType": "image/png"}],
    }


def _chunk(kind: int, content: bytes, filler: bytes) -> bytes:
    content += filler * (-len(content) % 4)
    return struct.pack("<II", len(content), kind) + content


def _parsed(content: bytes) -> tuple[dict[str, Any], memoryview]:
    """Take the two chunks apart."""
    if len(content) < 20 or struct.unpack_from("<II", content) != (_MAGIC, _VERSION):
        raise ValueError(f"not a GLB of glTF 2.0: {len(content)} bytes that begin with {content[:4]!r}")
    (length,) = struct.unpack_from("<I", content, 12)
    if len(content) < struct.unpack_from("<I", content, 8)[0]:
        raise ValueError(f"the GLB ends early, after {len(content)} bytes; fetch it again")
    return json.loads(content[20 : 20 + length]), memoryview(content)[28 + length :]


def _read(document: dict[str, Any], binary: memoryview, index: int) -> Array:
    described = document["accessors"][index]
    width = next(width for width, name in _TYPES.items() if name == described["type"])
    view, dtype = document["bufferViews"][described["bufferView"]], _DTYPES[described["componentType"]]
    flat = np.frombuffer(binary, dtype, count=described["count"] * width, offset=view["byteOffset"])
    return np.array(flat.reshape(-1, width), dtype=dtype.newbyteorder("="))


def _picture(document: dict[str, Any], binary: memoryview) -> npt.NDArray[np.uint8]:
    view = document["bufferViews"][document["images"][0]["bufferView"]]
    start = view["byteOffset"]
    with Image.open(io.BytesIO(binary[start : start + view["byteLength"]])) as picture:
        return np.array(picture.convert("RGB"))


def _png(pixels: npt.NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


def _levels() -> npt.NDArray[np.uint16]:
    """Linear light (256,), as shares of `_FULL`, of the levels of sRGB (IEC 61966-2-1); no two are equal."""
    level = np.arange(256) / 255
    light = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.rint(light * _FULL), dtype="<u2")


def _linear(colours: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Linear light (V, 4) of sRGB colours (V, 3), opaque."""
    return np.column_stack([_levels()[colours], np.full(len(colours), _FULL, dtype="<u2")])


def _encoded(light: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint8]:
    """Inverse of `_linear`."""
    return np.searchsorted(_levels(), light[:, :3]).astype(np.uint8)


def _normals(mesh: Mesh) -> npt.NDArray[np.float64]:
    """Unit normals (V, 3): means of the faces around, by area; one where the surface is cut open for its texture."""
    corners = mesh.vertices.astype(np.float64)[mesh.faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    _, place = np.unique(mesh.vertices, axis=0, return_inverse=True)
    place = place.reshape(-1)
    total = np.zeros((len(mesh.vertices), 3))
    np.add.at(total, place[mesh.faces].reshape(-1), np.repeat(across, 3, axis=0))
    total = total[place]
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.maximum(length, 1e-300), (0.0, 1.0, 0.0))
