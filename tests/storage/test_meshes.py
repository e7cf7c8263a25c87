"""Meshes in the database."""

import hashlib
from dataclasses import replace

import pytest

from storage.database.records import NewMesh
from storage.database.repositories.meshes import MeshRepository
from storage.database.session import Database
from tests.storage.builders import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


def new_mesh(name: str = "chair") -> NewMesh:
    """Return a mesh whose digests follow from its name."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return NewMesh(
        name=name,
        vertices=8,
        faces=12,
        uploaded_faces=14,
        colours="vertex",
        is_watertight=True,
        bounds=[[0, 0, -0.5], [1, 1, 0.5]],
        warnings=["2 faces without area were dropped."],
        bytes=1234,
        sha256=digest,
        fingerprint=hashlib.sha256(digest.encode()).hexdigest(),
        blob_key=f"meshes/{digest}",
    )


def test_a_mesh_comes_back_as_it_was_added(database: Database, clock: Clock) -> None:
    with database.transaction() as session:
        added = MeshRepository(session, clock).add(new_mesh())
    assert added.id.startswith("msh_")
    assert added.created_at == clock.now
    with database.transaction(read_only=True) as session:
        repository = MeshRepository(session)
        assert repository.get(added.id) == added
        assert repository.by_fingerprint(added.fingerprint) == added
        assert repository.get("msh_nothing") is None
        assert repository.by_fingerprint("0" * 64) is None
    assert {name: getattr(added, name) for name in vars(new_mesh())} == vars(new_mesh())


def test_the_same_upload_is_one_mesh(database: Database) -> None:
    with database.transaction() as session:
        first = MeshRepository(session).add(new_mesh())
    with database.transaction() as session:
        assert MeshRepository(session).add(replace(new_mesh(), name="another name")) == first
        assert len(MeshRepository(session).page(10)) == 1


def test_pages_begin_with_the_newest(database: Database, clock: Clock) -> None:
    ids = []
    for name in ("first", "second", "third"):
        clock.advance(1)
        with database.transaction() as session:
            ids.append(MeshRepository(session, clock).add(new_mesh(name)).id)
    with database.transaction(read_only=True) as session:
        repository = MeshRepository(session)
        newest = repository.page(2)
        assert [mesh.id for mesh in newest] == ids[:0:-1]
        assert [mesh.id for mesh in repository.page(2, (newest[-1].created_at, newest[-1].id))] == ids[:1]
