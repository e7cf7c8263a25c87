"""Read mesh files that people upload: GLB, OBJ and PLY, or a ZIP with one of them, its materials and its textures.

Nothing is fetched: a file has with it what it needs, or does without.
"""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

import numpy as np

from alignment.mesh_archives import Companions, PictureBudget, unpack
from alignment.mesh_checks import check_face_count, check_glb, check_obj, check_ply, kind_of
from alignment.mesh_cleaning import cleaned, is_watertight
from alignment.mesh_limits import LoadedMesh, MeshFault, MeshFileError, MeshLimits
from alignment.mesh_parts import Part, parts_of, read_scene
from alignment.mesh_simplification import simplified
from alignment.mesh_textures import joined

KINDS: Final = {".glb": "glb", ".obj": "obj", ".ply": "ply", ".zip": "zip", ".gltf": "gltf"}
NO_COLOURS: Final = "It has no colours: it is drawn grey."
_MAX_UV = 1e6
_SHOWN_FILES = 5


def load_mesh(content: bytes, name: str, limits: MeshLimits) -> LoadedMesh:
    """Read a mesh file.

    Args:
        content: of the file; its kind is told from it.
        name: of the file; if its ending says a kind, that must be the one.
        limits: what is read and kept at most.

    Raises:
        MeshFileError: it is no such file, damaged, without a surface, or too large.
    """
    kind = _kind(content, name)
    files: Mapping[str, bytes] = {}
    path = name
    if kind == "zip":
        path, files = unpack(content, limits)
        content = files[path]
        kind = _kind(content, path)
    return _load(content, kind, files, PurePosixPath(path.replace("\\", "/")).parent.as_posix(), limits)


def _kind(content: bytes, name: str) -> str:
    """Tell what a file is.

    Raises:
        MeshFileError: nothing that is read, or something else than its name says.
    """
    kind = kind_of(content)
    suffix = PurePosixPath(name.lower()).suffix
    if kind is None:
        raise _unsupported("not-a-mesh", _what_instead(content, suffix))
    said = KINDS.get(suffix, kind)
    if said != kind:
        detail = f"its name ends in {suffix}, but its content is {kind.upper()}; give it its right name"
        raise _unsupported("other-content", detail)
    return kind


def _what_instead(content: bytes, suffix: str) -> str:
    if content[:64].lstrip().startswith(b"{") and b'"asset"' in content:
        return "it is glTF with its data in other files; export one GLB that holds everything"
    said = f"its name ends in {suffix}, but " if suffix in KINDS else ""
    return f"{said}its content is none of GLB, OBJ, PLY, or a ZIP with one of them; export the mesh as GLB"


def _load(content: bytes, kind: str, files: Mapping[str, bytes], folder: str, limits: MeshLimits) -> LoadedMesh:
    budget = PictureBudget(limits)
    companions = Companions(files, folder, budget)
    content, warnings = _checked(content, kind, limits, budget)
    parts = parts_of(read_scene(content, kind, companions), limits, is_gltf=kind == "glb")
    faces = sum(len(part.faces) for part in parts)
    if faces == 0:
        raise MeshFileError(MeshFault.EMPTY, "no-faces", "it has no faces; export a mesh with a surface")
    check_face_count(faces, limits)
    _check_places(parts)
    surface, losses = joined(parts, texture_side=limits.texture_side)
    mesh, dropped = cleaned(surface)
    warnings += [*_missing(companions.missing), *losses, *_dropped(dropped)]
    if len(mesh.faces) > limits.kept_faces:
        warnings.append(f"It was simplified from {len(mesh.faces)} to at most {limits.kept_faces} faces.")
        mesh, _ = cleaned(simplified(mesh, limits.kept_faces))
    if not mesh.is_coloured:
        warnings.append(NO_COLOURS)
    return LoadedMesh(mesh, faces, is_watertight(mesh), tuple(warnings))


def _checked(content: bytes, kind: str, limits: MeshLimits, budget: PictureBudget) -> tuple[bytes, list[str]]:
    """Return the file as the reader can take it, and what of it is passed over."""
    if kind == "glb":
        return check_glb(content, limits, budget)
    if kind == "ply":
        check_ply(content)
        return content, []
    check_obj(content)
    return content.decode("utf-8", errors="replace").encode(), []


def _check_places(parts: list[Part]) -> None:
    for part in parts:
        if part.uv is not None and not (np.abs(part.uv) < _MAX_UV).all():
            detail = f"its texture coordinates are not finite, or beyond {_MAX_UV:g}; export it again"
            raise MeshFileError(MeshFault.DAMAGED, "not-finite", detail)


def _missing(names: list[str]) -> list[str]:
    if not names:
        return []
    listed = ", ".join(repr(name[:60]) for name in names[:_SHOWN_FILES])
    more = f" and {len(names) - _SHOWN_FILES} more" if len(names) > _SHOWN_FILES else ""
    return [f"It refers to {listed}{more}, which did not come along; upload a ZIP that holds all of its files."]


def _dropped(count: int) -> list[str]:
    return [f"{count} faces without area were dropped."] if count else []


def _unsupported(code: str, detail: str) -> MeshFileError:
    return MeshFileError(MeshFault.UNSUPPORTED, code, detail)
