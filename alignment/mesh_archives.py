"""Files that a mesh file refers to: those of the ZIP that it came in, and none besides."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Final, NoReturn

from PIL import Image
from trimesh.resolvers import Resolver

from alignment.mesh_limits import MeshFault, MeshFileError, MeshLimits

PICTURE_FORMATS: Final = ("JPEG", "PNG", "WEBP", "BMP", "TGA")
MESH_SUFFIXES: Final = (".glb", ".obj", ".ply")
# Each entry of the directory takes 46 bytes and its name; so many bytes are far above what the entries allowed need.
_MAX_DIRECTORY_BYTES = 1 << 20
_END_OF_DIRECTORY = b"PK\x05\x06"
_LONGEST_COMMENT = 65535
_HEADER_BYTES = 1024
_BROKEN_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, struct.error)
_BROKEN_PICTURE = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error, zlib.error)


class PictureBudget:
    """Tells textures that are too large from their headers, before anything is decoded."""

    def __init__(self, limits: MeshLimits) -> None:
        self._limits = limits
        self._left = 4 * limits.picture_pixels

    def check(self, content: bytes, name: str) -> None:
        """Take a picture into account.

        Raises:
            MeshFileError: it is no picture of the formats taken, or too large, alone or with those before it.
        """
        width, height = _size(content, name)
        if width * height > self._limits.picture_pixels or max(width, height) > self._limits.picture_side:
            self._refuse(
                f"texture {name!r} has {width} x {height} pixels, the limit is {self._limits.picture_pixels} and "
                f"{self._limits.picture_side} a side; scale it down"
            )
        self._left -= width * height
        if self._left < 0:
            total = 4 * self._limits.picture_pixels
            self._refuse(f"its textures have more than {total} pixels together; scale them down")

    @staticmethod
    def _refuse(detail: str) -> NoReturn:
        raise MeshFileError(MeshFault.TOO_LARGE, "texture-too-large", detail)


class Companions(Resolver):
    """Gives a mesh's reader the files that came along.

    The reader passes over what it cannot get, so what it asked for in vain, and what must be refused, is kept here.

    Args:
        files: contents by path within the ZIP.
        folder: the mesh's own folder there.
        budget: for the pictures among them.
    """

    def __init__(self, files: Mapping[str, bytes], folder: str, budget: PictureBudget) -> None:
        self._files = {_normal(path): content for path, content in files.items()}
        self._by_name = {PurePosixPath(path).name: content for path, content in self._files.items()}
        self._folder = folder
        self._budget = budget
        self._checked: set[str] = set()
        self.missing: list[str] = []
        """Files that were asked for and did not come along."""
        self.refused: MeshFileError | None = None
        """The first file that cannot be taken."""

    def get(self, key: str) -> bytes:
        """Return a file's content.

        Raises:
            FileNotFoundError: it did not come along.
            MeshFileError: it is neither text nor a picture that can be taken.
        """
        content = next((found for name in _spellings(key) if (found := self._find(name)) is not None), None)
        if content is None:
            if key not in self.missing:
                self.missing.append(key)
            raise FileNotFoundError(key)
        if _is_text(content):
            return content.decode("utf-8", errors="replace").encode()
        if key not in self._checked:
            self._checked.add(key)
            self._check(content, key)
        return content

    def keys(self) -> Iterable[str]:
        """Name the files."""
        return self._files.keys()

    def write(self, name: str, data: bytes) -> None:  # noqa: ARG002
        """Refuse: nothing is written.

        Raises:
            PermissionError: always.
        """
        raise PermissionError(name)

    def namespaced(self, namespace: str) -> "Companions":  # noqa: ARG002
        """Return the same: folders are found by themselves."""
        return self

    def _find(self, key: str) -> bytes | None:
        path = _normal(key)
        beside = _normal(f"{self._folder}/{key}")
        return self._files.get(beside) or self._files.get(path) or self._by_name.get(PurePosixPath(path).name)

    def _check(self, content: bytes, name: str) -> None:
        try:
            self._budget.check(content, name)
        except MeshFileError as error:
            self.refused = self.refused or error
            raise


def unpack(content: bytes, limits: MeshLimits) -> tuple[str, dict[str, bytes]]:
    """Return the path of the one mesh in a ZIP, and all its files by path.

    Raises:
        MeshFileError: it is damaged, locked, too large unpacked, names files outside itself, or does not hold exactly
            one mesh.
    """
    _check_directory(content)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir() and not _is_litter(entry.filename)]
            _check_entries(entries, limits)
            mesh = _only_mesh([entry.filename for entry in entries])
            return mesh, {entry.filename: archive.read(entry) for entry in entries}
    except MeshFileError:
        raise
    except _BROKEN_ZIP as error:
        raise _damaged_zip(error) from error


def _check_directory(content: bytes) -> None:
    """Refuse a directory of very many entries before it is read."""
    tail = content[-(_LONGEST_COMMENT + 22) :]
    place = tail.rfind(_END_OF_DIRECTORY)
    if place < 0 or len(tail) - place < 22:
        raise _damaged_zip("it has no directory at its end")
    (size,) = struct.unpack_from("<I", tail, place + 12)
    if size > _MAX_DIRECTORY_BYTES:
        raise MeshFileError(MeshFault.TOO_LARGE, "too-many-entries", "the ZIP holds very many files; leave out others")


def _check_entries(entries: list[zipfile.ZipInfo], limits: MeshLimits) -> None:
    if len(entries) > limits.entries:
        detail = f"the ZIP holds {len(entries)} files, the limit is {limits.entries}; leave out what the mesh needs not"
        raise MeshFileError(MeshFault.TOO_LARGE, "too-many-entries", detail)
    for entry in entries:
        path = PurePosixPath(entry.filename.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
            detail = f"entry {entry.filename[:100]!r} of the ZIP lies outside it; pack the files by relative paths"
            raise MeshFileError(MeshFault.UNSUPPORTED, "unsafe-path", detail)
        if entry.flag_bits & 1:
            detail = f"entry {entry.filename[:100]!r} of the ZIP is locked by a password; pack it without one"
            raise MeshFileError(MeshFault.UNSUPPORTED, "locked", detail)
    total = sum(entry.file_size for entry in entries)
    if total > limits.unpacked_bytes:
        detail = f"the ZIP's files have {total} bytes unpacked, the limit is {limits.unpacked_bytes}; leave out others"
        raise MeshFileError(MeshFault.TOO_LARGE, "too-many-bytes", detail)


def _only_mesh(names: list[str]) -> str:
    meshes = [name for name in names if name.lower().endswith(MESH_SUFFIXES)]
    if len(meshes) != 1:
        found = f"{len(meshes)}: {', '.join(meshes)[:200]}" if meshes else "none"
        detail = f"a ZIP must hold exactly one OBJ, PLY or GLB file, and its materials and textures; it holds {found}"
        raise MeshFileError(MeshFault.UNSUPPORTED, "not-one-mesh", detail)
    return meshes[0]


def _size(content: bytes, name: str) -> tuple[int, int]:
    try:
        with Image.open(io.BytesIO(content), formats=PICTURE_FORMATS) as picture:
            return picture.size
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        detail = f"texture {name!r} declares too many pixels ({error}); scale it down"
        raise MeshFileError(MeshFault.TOO_LARGE, "texture-too-large", detail) from error
    except _BROKEN_PICTURE as error:
        formats = ", ".join(PICTURE_FORMATS)
        detail = f"texture {name!r} is damaged, or none of {formats}; save it as PNG or JPEG"
        raise MeshFileError(MeshFault.UNSUPPORTED, "bad-texture", detail) from error


def _spellings(key: str) -> list[str]:
    """Return what a reference may mean: materials may have options before a texture's name, and odd slashes."""
    words = key.split()
    return [key, words[-1]] if len(words) > 1 else [key]


def _normal(path: str) -> str:
    parts = [part for part in path.replace("\\", "/").lower().split("/") if part not in ("", ".")]
    return "/".join(parts)


def _is_text(content: bytes) -> bool:
    """Tell materials from pictures, whose headers all have zeros."""
    return b"\x00" not in content[:_HEADER_BYTES]


def _is_litter(path: str) -> bool:
    """Tell what some systems add to archives."""
    return path.startswith("__MACOSX/") or PurePosixPath(path).name in (".DS_Store", "Thumbs.db", "desktop.ini")


def _damaged_zip(reason: object) -> MeshFileError:
    detail = f"the ZIP is cut short or damaged ({reason}); pack it again"
    return MeshFileError(MeshFault.DAMAGED, "damaged-zip", detail)
