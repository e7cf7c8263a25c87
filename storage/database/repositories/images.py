"""Images and image sets."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from api_schemas.base import new_id
from storage.database.models import ImageRow, ImageSetItemRow, ImageSetRow
from storage.database.records import ImageRecord, ImageSetRecord, NewImage
from storage.database.repositories.base import Clock, before_cursor, insert_for, record_of, utc_now


class ImageRepository:
    """Stored images."""

    def __init__(self, session: Session, clock: Clock = utc_now) -> None:
        self._session = session
        self._clock = clock

    def add(self, image: NewImage) -> ImageRecord:
        """Add an image, or return the one that the same upload made before, also by another request just now."""
        values = {**asdict(image), "id": new_id("img"), "created_at": self._clock()}
        statement = insert_for(self._session, ImageRow).values(values)
        self._session.execute(statement.on_conflict_do_nothing(index_elements=[ImageRow.upload_sha256]))
        row = self._session.scalars(select(ImageRow).where(ImageRow.upload_sha256 == image.upload_sha256)).one()
        return record_of(ImageRecord, row)

    def by_digest(self, upload_sha256: str) -> ImageRecord | None:
        """Return the image that was made from the upload with this SHA-256."""
        row = self._session.scalars(select(ImageRow).where(ImageRow.upload_sha256 == upload_sha256)).one_or_none()
        return record_of(ImageRecord, row) if row is not None else None

    def get(self, image_id: str) -> ImageRecord | None:
        """Return the image, or None."""
        row = self._session.get(ImageRow, image_id)
        return record_of(ImageRecord, row) if row is not None else None

    def get_many(self, image_ids: Sequence[str]) -> list[ImageRecord]:
        """Return the images in the order of the ids; missing ones are left out."""
        rows = self._session.scalars(select(ImageRow).where(ImageRow.id.in_(image_ids)))
        by_id = {row.id: record_of(ImageRecord, row) for row in rows}
        return [by_id[image_id] for image_id in image_ids if image_id in by_id]


class ImageSetRepository:
    """Images with an order."""

    def __init__(self, session: Session, clock: Clock = utc_now) -> None:
        self._session = session
        self._clock = clock

    def add(self, name: str | None, image_ids: Sequence[str]) -> ImageSetRecord:
        """Add a set; all images must exist."""
        row = ImageSetRow(id=new_id("set"), name=name, created_at=self._clock())
        self._session.add(row)
        self._session.flush()
        self._session.add_all(
            ImageSetItemRow(image_set_id=row.id, position=position, image_id=image_id)
            for position, image_id in enumerate(image_ids)
        )
        self._session.flush()
        return self._record(row, tuple(image_ids))

    def get(self, image_set_id: str) -> ImageSetRecord | None:
        """Return the set, or None."""
        row = self._session.get(ImageSetRow, image_set_id)
        if row is None:
            return None
        return self._record(row, self._image_ids([row.id]).get(row.id, ()))

    def page(self, limit: int, before: tuple[datetime, str] | None = None) -> list[ImageSetRecord]:
        """Return up to `limit` sets, newest first, older than the (created_at, id) of `before`."""
        query = select(ImageSetRow).order_by(ImageSetRow.created_at.desc(), ImageSetRow.id.desc())
        if before is not None:
            query = query.where(before_cursor(ImageSetRow.created_at, ImageSetRow.id, before))
        rows = self._session.scalars(query.limit(limit)).all()
        image_ids = self._image_ids([row.id for row in rows])
        return [self._record(row, image_ids.get(row.id, ())) for row in rows]

    def _image_ids(self, set_ids: Sequence[str]) -> dict[str, tuple[str, ...]]:
        query = (
            select(ImageSetItemRow.image_set_id, ImageSetItemRow.image_id)
            .where(ImageSetItemRow.image_set_id.in_(set_ids))
            .order_by(ImageSetItemRow.image_set_id, ImageSetItemRow.position)
        )
        found: dict[str, tuple[str, ...]] = {}
        for set_id, image_id in self._session.execute(query):
            found[set_id] = (*found.get(set_id, ()), image_id)
        return found

    @staticmethod
    def _record(row: ImageSetRow, image_ids: tuple[str, ...]) -> ImageSetRecord:
        return ImageSetRecord(id=row.id, name=row.name, image_ids=image_ids, created_at=row.created_at)
