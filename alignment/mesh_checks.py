"""Look into mesh files before a reader believes them: what they claim, what they refer to, how much they would grow."""

import base64
import binascii
import json
import re
import struct
from collections.abc import Sequence
from typing import Any, Final

from alignment.mesh_archives import PictureBudget
from alignment.mesh_limits import MeshFault, MeshFileError, MeshLimits

GLB_MAGIC: Final = b"glTF"
ZIP_MAGIC: Final = b"PK\x03\x04"
_GLB_VERSION = 2
_JSON_CHUNK = 0x4E4F534A
_BINARY_CHUNK = 0x004E4942
_MAX_JSON_BYTES = 16 * 2**20
_MAX_NODES = 20_000
_MAX_MATERIALS = 2_000
_MAX_DEPTH = 256
_SLACK_BYTES = 1 << 20
_GROWTH = 4
"""By how much the parts of a GLB may overlap: bytes of all views, and of all accessors, as multiples of the file."""
_COMPONENT_BYTES = {5120: 1, 5121: 1, 5122: 2, 5123: 2, 5125: 4, 5126: 4}
_COMPONENTS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT2": 4, "MAT3": 9, "MAT4": 16}
_FLOAT = 5126
_HARMLESS_EXTENSIONS = ("KHR_materials_", "KHR_lights_punctual", "KHR_texture_transform", "EXT_texture_webp")
_OBJ_VERTEX = re.compile(rb"^[ \t]*v[ \t]+[-+.\d]", re.MULTILINE)
_OBJ_ZERO = re.compile(rb"^f[^\n]*[ \t]0(?:[/ \t\r]|$)", re.MULTILINE)
_OBJ_RELATIVE = re.compile(rb"^f[^\n]*[ \t]-\d", re.MULTILINE)
_OBJ_FACE = re.compile(rb"^f[ \t]", re.MULTILINE)
_OBJ_MATERIAL = re.compile(rb"^usemtl[ \t]+([^\r\n]*)", re.MULTILINE)
_PLY_END = re.compile(rb"^end_header[ \t]*\r?$\n?", re.MULTILINE)
_PLY_ELEMENT = re.compile(rb"^element[ \t]+(\S+)[ \t]+(\S+)[ \t]*\r?$", re.MULTILINE)
_MAX_HEADER_BYTES = 1 << 16


def kind_of(content: bytes) -> str | None:
    """Tell `glb`, `zip`, `ply` or `obj` by the content; None for anything else."""
    if content.startswith(GLB_MAGIC):
        return "glb"
    if content.startswith(ZIP_MAGIC):
        return "zip"
    if content.startswith((b"ply\n", b"ply\r")):
        return "ply"
    if b"\x00" not in content[:_MAX_HEADER_BYTES] and _OBJ_VERTEX.search(content):
        return "obj"
    return None


def check_obj(content: bytes) -> None:
    """Refuse what the reader would misunderstand.

    Raises:
        MeshFileError: faces count from 0, or backwards from the middle of the file, or there are very many materials.
    """
    materials = len(set(_OBJ_MATERIAL.findall(content)))
    if materials > _MAX_MATERIALS:
        detail = f"it uses {materials} materials, the limit is {_MAX_MATERIALS}; join those that are alike"
        raise MeshFileError(MeshFault.TOO_LARGE, "too-many-parts", detail)
    if _OBJ_ZERO.search(content):
        detail = "a face names vertex 0, but OBJ counts from 1; export it again"
        raise MeshFileError(MeshFault.DAMAGED, "missing-vertex", detail)
    if _OBJ_RELATIVE.search(content):
        face = _OBJ_FACE.search(content)
        if face and _OBJ_VERTEX.search(content, face.end()):
            detail = "faces count backwards (negative numbers) between the vertices; export it with absolute numbers"
            raise MeshFileError(MeshFault.UNSUPPORTED, "relative-faces", detail)


def check_ply(content: bytes) -> None:
    """Refuse a header that promises more than follows it.

    Raises:
        MeshFileError: it does, or is not a header.
    """
    end = _PLY_END.search(content[:_MAX_HEADER_BYTES])
    if end is None:
        raise MeshFileError(MeshFault.DAMAGED, "bad-header", "the PLY header has no `end_header`; export it again")
    header, body = content[: end.start()], content[end.end() :]
    counts = [_count(count) for _, count in _PLY_ELEMENT.findall(header)]
    rows = body.rstrip().count(b"\n") + 1 if b"format ascii" in header else len(body)
    if sum(counts) > rows:
        detail = (
            f"the PLY header promises {sum(counts)} rows, more than the file can hold; it is cut short or damaged, "
            "export it again"
        )
        raise MeshFileError(MeshFault.DAMAGED, "bad-header", detail)


def _count(text: bytes) -> int:
    if not text.isdigit():
        detail = f"the PLY header counts {text[:40]!r} rows, which is no number; export it again"
        raise MeshFileError(MeshFault.DAMAGED, "bad-header", detail)
    return int(text)


def check_glb(content: bytes, limits: MeshLimits, budget: PictureBudget) -> tuple[bytes, list[str]]:
    """Refuse a GLB that is not whole, refers to other files, or would grow beyond bounds.

    Returns:
        The GLB with a material on every part, without which the reader cuts colours down to eight bits; and what of
        the file is passed over, as sentences for the user.

    Raises:
        MeshFileError: it is such a file.
    """
    document, binary = _chunks(content)
    try:
        _check_extensions(document)
        _check_references(document)
        _check_growth(document, len(content))
        _check_nodes(document, limits)
        _check_pictures(document, binary, budget)
    except (TypeError, KeyError, ValueError, IndexError, AttributeError, binascii.Error) as error:
        if isinstance(error, MeshFileError):
            raise
        raise _damaged_glb(f"its description contradicts itself: {type(error).__name__} {error}") from error
    warnings = []
    if "KHR_texture_transform" in document.get("extensionsUsed", []):
        warnings.append("Its textures are moved by KHR_texture_transform, which is not applied; they may lie wrongly.")
    return _with_materials(content, document), warnings


def _with_materials(content: bytes, document: dict[str, Any]) -> bytes:
    bare = [each for mesh in document.get("meshes", []) for each in mesh["primitives"] if "material" not in each]
    if not bare:
        return content
    materials = document.setdefault("materials", [])
    for primitive in bare:
        primitive["material"] = len(materials)
    materials.append({})
    (before,) = struct.unpack_from("<I", content, 12)
    description = json.dumps(document).encode()
    chunk = struct.pack("<2I", len(description), _JSON_CHUNK) + description
    return content[:12] + chunk + content[20 + before :]


def _chunks(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return the JSON and the binary chunk."""
    if len(content) < 20:
        raise _damaged_glb("it ends within its header")
    version, length, json_length, json_kind = struct.unpack_from("<4I", content, 4)
    if version != _GLB_VERSION:
        detail = f"it is glTF {version}; export it as glTF 2.0"
        raise MeshFileError(MeshFault.UNSUPPORTED, "gltf-version", detail)
    if length > len(content):
        raise _damaged_glb(f"it should have {length} bytes and has {len(content)}")
    if json_kind != _JSON_CHUNK or json_length > min(len(content) - 20, _MAX_JSON_BYTES):
        raise _damaged_glb("its description is missing, cut short or too long")
    try:
        document = json.loads(content[20 : 20 + json_length])
    except (ValueError, RecursionError) as error:
        raise _damaged_glb(f"its description is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _damaged_glb("its description is not a JSON object")
    return document, _binary(content, 20 + json_length)


def _binary(content: bytes, start: int) -> bytes:
    if len(content) < start + 8:
        return b""
    size, kind = struct.unpack_from("<2I", content, start)
    if kind != _BINARY_CHUNK:
        return b""
    if start + 8 + size > len(content):
        raise _damaged_glb("its binary part is cut short")
    return content[start + 8 : start + 8 + size]


def _check_extensions(document: dict[str, Any]) -> None:
    for name in document.get("extensionsRequired", []):
        if not str(name).startswith(_HARMLESS_EXTENSIONS):
            detail = f"it needs the glTF extension {str(name)[:60]}, which is not read; export it without compression"
            raise MeshFileError(MeshFault.UNSUPPORTED, "gltf-extension", detail)


def _check_references(document: dict[str, Any]) -> None:
    for kind in ("buffers", "images"):
        for item in document.get(kind, []):
            uri = item.get("uri")
            if uri is not None and not str(uri).startswith("data:"):
                detail = f"it refers to another file, {str(uri)[:100]!r}; export a GLB that holds everything"
                raise MeshFileError(MeshFault.UNSUPPORTED, "external-file", detail)


def _check_growth(document: dict[str, Any], size: int) -> None:
    views = sum(_natural(view["byteLength"]) for view in document.get("bufferViews", []))
    accessors = sum(_accessor_bytes(accessor) for accessor in document.get("accessors", []))
    for what, total in (("views", views), ("accessors", accessors)):
        if total > _GROWTH * size + _SLACK_BYTES:
            raise _damaged_glb(f"its {what} name {total} bytes of a file of {size}")
    for mesh in document.get("meshes", []):
        for primitive in mesh["primitives"]:
            place = primitive["attributes"].get("TEXCOORD_0")
            if place is not None and document["accessors"][_natural(place)]["componentType"] != _FLOAT:
                detail = "its texture coordinates are whole numbers; export them as floating point"
                raise MeshFileError(MeshFault.UNSUPPORTED, "quantised", detail)


def _accessor_bytes(accessor: dict[str, Any]) -> int:
    if "sparse" in accessor:
        detail = "it has sparse accessors, which are not read; export it without"
        raise MeshFileError(MeshFault.UNSUPPORTED, "sparse", detail)
    each = _COMPONENT_BYTES[accessor["componentType"]] * _COMPONENTS[accessor["type"]]
    return _natural(accessor["count"]) * each


def _check_nodes(document: dict[str, Any], limits: MeshLimits) -> None:
    """Refuse nodes that are no forest, and more copies of meshes than faces may be read."""
    nodes = document.get("nodes", [])
    primitives = [primitive for mesh in document.get("meshes", []) for primitive in mesh["primitives"]]
    if max(len(nodes), len(primitives)) > _MAX_NODES:
        detail = f"it has {len(nodes)} nodes and {len(primitives)} parts, the limit is {_MAX_NODES}; join them"
        raise MeshFileError(MeshFault.TOO_LARGE, "too-many-parts", detail)
    parents: dict[int, int] = {}
    for parent, node in enumerate(nodes):
        for child in node.get("children", []):
            if parents.setdefault(_natural(child), parent) != parent or child >= len(nodes):
                raise _damaged_glb("its nodes are no trees: one stands twice, or not at all")
    for node in range(len(nodes)):
        _check_depth(node, parents)
    faces = sum(_mesh_faces(document, _natural(node["mesh"])) for node in nodes if "mesh" in node)
    check_face_count(faces, limits)


def _check_depth(node: int, parents: dict[int, int]) -> None:
    for _ in range(_MAX_DEPTH):
        if node not in parents:
            return
        node = parents[node]
    raise _damaged_glb(f"its nodes stand in each other, or deeper than {_MAX_DEPTH} levels")


def _mesh_faces(document: dict[str, Any], mesh: int) -> int:
    count = 0
    for primitive in document["meshes"][mesh]["primitives"]:
        corners = primitive.get("indices", primitive["attributes"].get("POSITION"))
        count += 0 if corners is None else _natural(document["accessors"][_natural(corners)]["count"]) // 3
    return count


def check_face_count(faces: int, limits: MeshLimits) -> None:
    """Refuse a mesh of very many faces.

    Raises:
        MeshFileError: it has more than are read.
    """
    if faces > limits.read_faces:
        detail = f"it has {faces} faces, the limit is {limits.read_faces}; simplify it before"
        raise MeshFileError(MeshFault.TOO_LARGE, "too-many-faces", detail)


def _check_pictures(document: dict[str, Any], binary: bytes, budget: PictureBudget) -> None:
    views: Sequence[dict[str, Any]] = document.get("bufferViews", [])
    for index, image in enumerate(document.get("images", [])):
        name = str(image.get("name") or index)[:100]
        if "bufferView" in image:
            view = views[_natural(image["bufferView"])]
            start = _natural(view.get("byteOffset", 0))
            content = binary[start : start + _natural(view["byteLength"])]
        else:
            content = base64.b64decode(str(image["uri"]).partition("base64,")[2])
        budget.check(content, name)


def _natural(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{value!r} where a count or a place belongs")
    return value


def _damaged_glb(reason: str) -> MeshFileError:
    return MeshFileError(
        MeshFault.DAMAGED, "damaged-glb", f"the GLB is cut short or damaged ({reason}); export it again"
    )
