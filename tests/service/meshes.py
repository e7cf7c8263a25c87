"""Small mesh files, right and wrong ones, as their bytes."""

import io
import json
import struct
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

TETRAHEDRON = """\
v 0 0 0
v 1 0 0
v 0 1 0
v 0 0 1
f 1 3 2
f 1 2 4
f 1 4 3
f 2 3 4
"""
TEXTURED = """\
mtllib square.mtl
v 0 0 0
v 2 0 0
v 2 2 0
v 0 2 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl painted
f 1/1 2/2 3/3
f 1/1 3/3 4/4
"""
PAINTED = "newmtl painted\nKd 0 0 0\nmap_Kd square.png\n"


def picture(size: tuple[int, int] = (8, 4)) -> Image.Image:
    """A picture whose left upper quarter is red and whose rest is blue."""
    painted = Image.new("RGB", size, "blue")
    painted.paste("red", (0, 0, size[0] // 2, size[1] // 2))
    return painted


def png_of(painted: Image.Image) -> bytes:
    """Return a picture as a PNG file."""
    stream = io.BytesIO()
    painted.save(stream, "PNG")
    return stream.getvalue()


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP of files by path."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            archive.writestr(path, content)
    return stream.getvalue()


def textured_zip(**others: str | bytes) -> bytes:
    """Return a square with a material and a texture."""
    return zipped({"square.obj": TEXTURED, "square.mtl": PAINTED, "square.png": png_of(picture()), **others})


def grid_obj(cells: int) -> str:
    """Return a wavy sheet of cells x cells x 2 triangles without colours."""
    across = np.linspace(0, 1, cells + 1)
    x, y = (each.ravel() for each in np.meshgrid(across, across))
    lines = [f"v {a:.6f} {b:.6f} {0.1 * np.sin(9 * a) * np.sin(7 * b):.6f}" for a, b in zip(x, y, strict=True)]
    row = cells + 1
    for down in range(cells):
        for right in range(cells):
            corner = down * row + right + 1
            lines += [f"f {corner} {corner + 1} {corner + row}", f"f {corner + 1} {corner + row + 1} {corner + row}"]
    return "\n".join(lines) + "\n"


def glb(document: Mapping[str, Any] | bytes, binary: bytes = b"") -> bytes:
    """Return a GLB of a description, or of bytes in its place, and a binary part."""
    text = document if isinstance(document, bytes) else json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<2I", len(text), 0x4E4F534A) + text
    if binary:
        binary += b"\0" * (-len(binary) % 4)
        chunks += struct.pack("<2I", len(binary), 0x004E4942) + binary
    return b"glTF" + struct.pack("<2I", 2, 12 + len(chunks)) + chunks


def triangle_document(**changed: Any) -> tuple[dict[str, Any], bytes]:
    """Return the description and the binary part of one triangle without colours, with top-level parts changed."""
    places = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], dtype="<f4").tobytes()
    document: dict[str, Any] = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
        "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
        "bufferViews": [{"buffer": 0, "byteOffset": 0, "byteLength": len(places)}],
        "buffers": [{"byteLength": len(places)}],
        **changed,
    }
    return document, places


def triangle_glb(**changed: Any) -> bytes:
    """Return one triangle as GLB."""
    return glb(*triangle_document(**changed))


def ply(*, vertices: int = 3, faces: int = 1, body: str | None = None) -> bytes:
    """Return a PLY of one triangle in text, whose header may lie."""
    header = f"""\
ply
format ascii 1.0
element vertex {vertices}
property float x
property float y
property float z
element face {faces}
property list uchar int vertex_indices
end_header
"""
    return (header + (body or "0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n")).encode()
