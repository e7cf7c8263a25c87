"""Meshes."""

from dataclasses import asdict
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.base import new_id
from storage.database.models import MeshRow
from storage.database.records import MeshRecord, NewMesh
from storage.database.repositories.base import Clock, before_cursor, insert_for, record_of, utc_now


class MeshRepository:
    """Stored meshes."""

    def __init__(self, session: Session, clock: Clock = utc_now) -> None:
        self._session = session
        self._clock = clock

    def add(self, mesh: NewMesh) -> MeshRecord:
        """Add a mesh, or return the one that the same upload made before, also by another request just now."""
        values = {**asdict(mesh), "id": new_id("msh"), "created_at": self._clock()}
        statement = insert_for(self._session, MeshRow).values(values)
        self._session.execute(statement.on_conflict_do_nothing(index_elements=[MeshRow.fingerprint]))
        row = self._session.scalars(select(MeshRow).where(MeshRow.fingerprint == mesh.fingerprint)).one()
        return record_of(MeshRecord, row)

    def by_fingerprint(self, fingerprint: str) -> MeshRecord | None:
        """Return the mesh that was made from that upload, or None."""
        row = self._session.scalars(select(MeshRow).where(MeshRow.fingerprint == fingerprint)).one_or_none()
        return record_of(MeshRecord, row) if row is not None else None

    def get(self, mesh_id: str) -> MeshRecord | None:
        """Return the mesh, or None."""
        row = self._session.get(MeshRow, mesh_id)
        return record_of(MeshRecord, row) if row is not None else None

    def page(self, limit: int, before: tuple[datetime, str] | None = None) -> list[MeshRecord]:
        """Return up to `limit` meshes, newest first, older than the (created_at, id) of `before`."""
        query = select(MeshRow).order_by(MeshRow.created_at.desc(), MeshRow.id.desc())
        if before is not None:
            query = query.where(before_cursor(MeshRow.created_at, MeshRow.id, before))
        return [record_of(MeshRecord, row) for row in self._session.scalars(query.limit(limit))]
