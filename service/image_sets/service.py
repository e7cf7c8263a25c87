"""Bind images into ordered sets."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from api_schemas.base import ULID_PATTERN
from api_schemas.image_sets import ImageSet, ImageSetCreate, ImageSetLinks
from api_schemas.pagination import Page
from api_schemas.problems import FieldError
from service.dependencies import Services
from service.idempotency import IdempotentRequest, Replay
from service.identifiers import looks_like
from service.images.service import to_image
from service.pagination import PageRequest, cut_page
from service.problems import IMAGE_NOT_FOUND, NOT_FOUND, ProblemError, json_pointer
from storage.database.records import ImageRecord, ImageSetRecord
from storage.database.repositories.images import ImageRepository, ImageSetRepository

IMAGE_SET_ID = rf"set_{ULID_PATTERN}"


def create_image_set(services: Services, body: ImageSetCreate, idempotency_key: str | None) -> Replay | ImageSet:
    """Make a set, or return what the same request made before.

    Raises:
        ProblemError: an image is not known; the key was used for another request.
    """
    request = IdempotentRequest.of(idempotency_key, "POST /v1/image-sets", body.model_dump(mode="json"))
    with services.database.transaction() as session:
        if request and (replay := request.reserve(session)):
            return replay
        images = known_images(session, body.image_ids)
        created = to_image_set(ImageSetRepository(session).add(body.name, body.image_ids), images)
        if request:
            request.complete(session, Replay(201, created.model_dump(mode="json"), created.links.self))
    return created


def known_images(session: Session, image_ids: Sequence[str]) -> list[ImageRecord]:
    """Return the images that a body names in `image_ids`.

    Raises:
        ProblemError: some are not known.
    """
    images = ImageRepository(session).get_many(image_ids)
    found = {image.id for image in images}
    errors = [
        FieldError(pointer=json_pointer("image_ids", index), code="not-found", detail=f"there is no image {image_id!r}")
        for index, image_id in enumerate(image_ids)
        if image_id not in found
    ]
    if errors:
        detail = f"{len(errors)} of {len(image_ids)} images are not known; upload them with POST /v1/images"
        raise ProblemError(IMAGE_NOT_FOUND, detail, errors=errors)
    return images


def find_image_set(services: Services, image_set_id: str) -> ImageSet:
    """Return a set.

    Raises:
        ProblemError: there is none of that id.
    """
    if looks_like(image_set_id, IMAGE_SET_ID):
        with services.database.transaction(read_only=True) as session:
            record = ImageSetRepository(session).get(image_set_id)
            if record is not None:
                return to_image_set(record, ImageRepository(session).get_many(record.image_ids))
    detail = f"there is no image set {image_set_id[:64]!r}; POST /v1/image-sets makes one"
    raise ProblemError(NOT_FOUND, detail)


def list_image_sets(services: Services, page: PageRequest) -> Page[ImageSet]:
    """Return a page of sets."""
    with services.database.transaction(read_only=True) as session:
        records = ImageSetRepository(session).page(page.limit + 1, page.before)
        images = ImageRepository(session)
        return cut_page(records, page, lambda record: to_image_set(record, images.get_many(record.image_ids)))


def to_image_set(record: ImageSetRecord, images: Sequence[ImageRecord]) -> ImageSet:
    """Show a set to the client."""
    return ImageSet(
        id=record.id,
        name=record.name,
        images=[to_image(image) for image in images],
        created_at=record.created_at,
        links=ImageSetLinks(self=f"/v1/image-sets/{record.id}"),
    )
