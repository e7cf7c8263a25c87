"""Addresses of image sets."""

from fastapi import APIRouter, Request, Response

from api_schemas.image_sets import ImageSet, ImageSetCreate
from api_schemas.pagination import Page
from service.dependencies import ServicesDep
from service.idempotency import IdempotencyKeyHeader, Replay, replayed
from service.image_sets.service import create_image_set, find_image_set, list_image_sets
from service.openapi import problems
from service.pagination import DEFAULT_LIMIT, CursorQuery, LimitQuery, PageRequest, link_next
from service.problems import (
    IDEMPOTENCY_IN_PROGRESS,
    IDEMPOTENCY_KEY_REUSED,
    IMAGE_NOT_FOUND,
    INVALID_CURSOR,
    MALFORMED_BODY,
    NOT_FOUND,
    UNSUPPORTED_MEDIA_TYPE,
)

router = APIRouter(prefix="/v1/image-sets", tags=["image sets"])


@router.post(
    "",
    status_code=201,
    name="create_image_set",
    response_model=ImageSet,
    responses=problems(
        MALFORMED_BODY, UNSUPPORTED_MEDIA_TYPE, IMAGE_NOT_FOUND, IDEMPOTENCY_IN_PROGRESS, IDEMPOTENCY_KEY_REUSED
    ),
)
def post_image_set(
    body: ImageSetCreate, response: Response, services: ServicesDep, idempotency_key: IdempotencyKeyHeader = None
) -> Response | ImageSet:
    """Bind uploaded images into a set; the order of the ids is the order of the set."""
    result = create_image_set(services, body, idempotency_key)
    if isinstance(result, Replay):
        return replayed(result)
    response.headers["Location"] = result.links.self
    return result


@router.get("", name="list_image_sets", responses=problems(INVALID_CURSOR))
def get_image_sets(
    request: Request,
    response: Response,
    services: ServicesDep,
    limit: LimitQuery = DEFAULT_LIMIT,
    cursor: CursorQuery = None,
) -> Page[ImageSet]:
    """List image sets, newest first."""
    page = list_image_sets(services, PageRequest(limit, cursor, {}))
    link_next(request, response, page.next_cursor)
    return page


@router.get("/{image_set_id}", responses=problems(NOT_FOUND))
def get_image_set(image_set_id: str, services: ServicesDep) -> ImageSet:
    """Describe an image set."""
    return find_image_set(services, image_set_id)
