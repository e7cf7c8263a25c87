"""Read uploaded meshes, store them once and show them."""

import hashlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Literal, cast

from alignment.glb import write_glb
from alignment.mesh import Mesh as Surface
from alignment.mesh_limits import LoadedMesh, MeshFault, MeshFileError, MeshLimits
from api_schemas.base import ULID_PATTERN
from api_schemas.meshes import Mesh, MeshColours, MeshLinks, Place
from api_schemas.pagination import Page
from service.dependencies import Services
from service.identifiers import looks_like
from service.pagination import PageRequest, cut_page
from service.problems import (
    MALFORMED_BODY,
    MESH_DAMAGED,
    MESH_EMPTY,
    MESH_TOO_LARGE,
    NOT_FOUND,
    UNSUPPORTED_MESH,
    ProblemError,
    ProblemKind,
    json_pointer,
)
from service.queries.frames import faulty
from service.settings import ServiceSettings
from service.uploads import CONTROL_CHARACTERS, FileLimit, ReceivedFile, ReceivedForm
from storage.blobs.keys import mesh_key
from storage.database.records import MeshRecord, NewMesh
from storage.database.repositories.meshes import MeshRepository

MESH_PART: Final = "mesh"
NAME_PART: Final = "name"
MESH_ID = rf"msh_{ULID_PATTERN}"
MAX_NAME_LENGTH = 200
UNPACKED = 4
"""How many times the limit of an uploaded file the files of a ZIP may have unpacked."""
KINDS: dict[MeshFault, ProblemKind] = {
    MeshFault.UNSUPPORTED: UNSUPPORTED_MESH,
    MeshFault.DAMAGED: MESH_DAMAGED,
    MeshFault.EMPTY: MESH_EMPTY,
    MeshFault.TOO_LARGE: MESH_TOO_LARGE,
}


@dataclass(frozen=True)
class StoredMesh:
    """The answer to an upload."""

    record: MeshRecord
    is_new: bool
    """Whether it was not known before."""


def mesh_file_limit(settings: ServiceSettings) -> FileLimit:
    """Return the largest file that is taken."""
    return FileLimit(settings.max_mesh_bytes, MESH_TOO_LARGE, "mesh", "simplify it, or scale its textures down")


def store_mesh(services: Services, form: ReceivedForm) -> StoredMesh:
    """Read, clean and store an uploaded mesh; the same bytes, uploaded again, are the same mesh.

    Raises:
        ProblemError: no file, several, or one that is not taken.
        StorageFullError: no space.
    """
    file, name = _only_file(form), _name(form)
    fingerprint = _fingerprint(file, services.settings)
    with services.database.transaction(read_only=True) as session:
        known = MeshRepository(session).by_fingerprint(fingerprint)
    if known is not None:
        return StoredMesh(known, is_new=False)
    try:
        loaded = _read(file, _limits(services.settings))
    except MeshFileError as error:
        raise faulty(KINDS[error.fault], file.pointer, error.code, f"{file.name!r}: {error.detail}") from error
    content = write_glb(loaded.mesh)
    new = _describe(loaded, content, name=name or file.name, fingerprint=fingerprint)
    with services.storing:
        had_content = services.blobs.exists(new.blob_key)
        try:
            if not had_content:
                services.blobs.put(new.blob_key, content)
            with services.database.transaction() as session:
                return StoredMesh(MeshRepository(session).add(new), is_new=True)
        except BaseException:
            if not had_content:
                services.blobs.delete(new.blob_key)
            raise


def find_mesh(services: Services, mesh_id: str) -> MeshRecord:
    """Return a mesh.

    Raises:
        ProblemError: there is none of that id.
    """
    if looks_like(mesh_id, MESH_ID):
        with services.database.transaction(read_only=True) as session:
            record = MeshRepository(session).get(mesh_id)
        if record is not None:
            return record
    raise ProblemError(NOT_FOUND, f"there is no mesh {mesh_id[:64]!r}; POST /v1/meshes uploads one")


def list_meshes(services: Services, page: PageRequest) -> Page[Mesh]:
    """Return a page of meshes."""
    with services.database.transaction(read_only=True) as session:
        return cut_page(MeshRepository(session).page(page.limit + 1, page.before), page, to_mesh)


def to_mesh(record: MeshRecord) -> Mesh:
    """Show a mesh to the client."""
    address = f"/v1/meshes/{record.id}"
    low, high = (cast(Place, tuple(corner)) for corner in record.bounds)
    return Mesh(
        id=record.id,
        name=record.name,
        vertices=record.vertices,
        faces=record.faces,
        uploaded_faces=record.uploaded_faces,
        colours=cast(MeshColours, record.colours),
        is_watertight=record.is_watertight,
        bounds=(low, high),
        bytes=record.bytes,
        sha256=record.sha256,
        warnings=record.warnings,
        created_at=record.created_at,
        links=MeshLinks(self=address, content=f"{address}/content"),
    )


def content_name(name: str) -> str:
    """Return the file name under which a mesh of that name is downloaded."""
    return f"{PurePosixPath(name).stem or 'mesh'}.glb"


def _read(file: ReceivedFile, limits: MeshLimits) -> LoadedMesh:
    # Here, because the reader's libraries take seconds to import, and most services never see a mesh.
    from alignment.mesh_files import load_mesh

    return load_mesh(file.path.read_bytes(), file.name, limits)


def _only_file(form: ReceivedForm) -> ReceivedFile:
    if len(form.files) != 1:
        detail = f"the form needs one file in a part {MESH_PART!r}; it has {len(form.files)}"
        code = "missing" if not form.files else "repeated-part"
        raise faulty(MALFORMED_BODY, json_pointer(MESH_PART), code, detail)
    return form.files[0]


def _name(form: ReceivedForm) -> str | None:
    given = form.fields.get(NAME_PART, b"").decode("utf-8", errors="replace")
    name = CONTROL_CHARACTERS.sub("", given).strip()
    if len(name) > MAX_NAME_LENGTH:
        detail = f"the name has {len(name)} characters, the limit is {MAX_NAME_LENGTH}; shorten it"
        raise faulty(MALFORMED_BODY, json_pointer(NAME_PART), "too-long", detail)
    return name or None


def _fingerprint(file: ReceivedFile, settings: ServiceSettings) -> str:
    """Tell equal uploads; read under another limit of faces, the same file is another mesh."""
    return hashlib.sha256(f"{file.sha256} {settings.max_mesh_faces}".encode()).hexdigest()


def _limits(settings: ServiceSettings) -> MeshLimits:
    return MeshLimits(
        unpacked_bytes=UNPACKED * settings.max_mesh_bytes,
        picture_pixels=settings.max_image_pixels,
        picture_side=settings.max_image_side,
        kept_faces=settings.max_mesh_faces,
    )


def _describe(loaded: LoadedMesh, content: bytes, *, name: str, fingerprint: str) -> NewMesh:
    mesh = loaded.mesh
    digest = hashlib.sha256(content).hexdigest()
    return NewMesh(
        name=name,
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        uploaded_faces=loaded.uploaded_faces,
        colours=_colours(mesh),
        is_watertight=loaded.is_watertight,
        bounds=mesh.bounds.astype(float).tolist(),
        warnings=list(loaded.warnings),
        bytes=len(content),
        sha256=digest,
        fingerprint=fingerprint,
        blob_key=mesh_key(digest),
    )


def _colours(mesh: Surface) -> Literal["texture", "vertex", "none"]:
    if mesh.texture is not None:
        return "texture"
    return "none" if mesh.colours is None else "vertex"
