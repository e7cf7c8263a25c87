"""Bring mesh files to the service, an OBJ together with the materials and textures that it refers to."""

import io
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx

from api_schemas.meshes import Mesh
from client.transport import Transport, parse

# The service reads, cleans and simplifies a mesh before it answers.
ANSWER_TIMEOUT_S: Final = 600.0
_MATERIALS = re.compile(r"^\s*mtllib\s+(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_TEXTURES = re.compile(r"^\s*map_kd\s+(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_PLY_TEXTURES = re.compile(r"^comment\s+texturefile\s+(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_PLY_HEADER_BYTES = 65536
_MATERIAL_SUFFIXES = frozenset({".mtl"})
_PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tga"})
File = tuple[str, bytes]


def send_mesh(transport: Transport, path: Path, *, name: str | None = None) -> Mesh:
    """Upload a mesh file; OBJ and PLY go in a ZIP with the files beside them that they refer to.

    Files that are missing here are left out, and the mesh's `warnings` name them.

    Raises:
        FileNotFoundError: there is no such file.
        ProblemError: the service refused.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a GLB, OBJ, PLY or ZIP file")
    filename, content = packed(path)

    def post() -> httpx.Response:
        return transport.http.post(
            "/v1/meshes",
            data={"name": name or path.name},
            files={"mesh": (filename, content, "application/octet-stream")},
            timeout=httpx.Timeout(60.0, read=ANSWER_TIMEOUT_S),
        )

    return parse(transport.send(post), Mesh)


def packed(path: Path) -> File:
    """Return the name and the bytes of the file to send: the file itself, or a ZIP of it and what it refers to.

    The same files make the same bytes.
    """
    content = path.read_bytes()
    companions = dict(_companions(path, content))
    if not companions:
        return path.name, content
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in [(path.name, content), *sorted(companions.items())]:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return f"{path.stem}.zip", stream.getvalue()


def _companions(path: Path, content: bytes) -> Iterator[File]:
    """Yield the files that a mesh refers to, by the path at which the service looks for them."""
    if path.suffix.lower() == ".ply":
        header = content[:_PLY_HEADER_BYTES].decode("latin-1")
        yield from _found(path.parent, _PLY_TEXTURES.findall(header), _PICTURE_SUFFIXES)
    if path.suffix.lower() == ".obj":
        for name, data in _found(path.parent, _MATERIALS.findall(_text(content)), _MATERIAL_SUFFIXES):
            yield name, data
            yield from _found((path.parent / name).parent, _TEXTURES.findall(_text(data)), _PICTURE_SUFFIXES)


def _found(folder: Path, references: list[str], suffixes: frozenset[str]) -> Iterator[File]:
    """Yield the files of a folder, or below it, that are meant; only names are kept of paths that lead elsewhere.

    A mesh from elsewhere may name any file, so none is taken but those of the kind that belongs there.
    """
    for reference in references:
        for spelling in dict.fromkeys([reference, reference.split()[-1]]):
            given = Path(spelling.strip("\"'").replace("\\", "/"))
            is_below = not given.is_absolute() and ".." not in given.parts
            relative = given if is_below and (folder / given).is_file() else Path(given.name)
            if relative.suffix.lower() in suffixes and (folder / relative).is_file():
                yield relative.as_posix(), (folder / relative).read_bytes()
                break


def _text(content: bytes) -> str:
    return content.decode("utf-8", errors="replace")
