"""Addresses of uploaded pictures."""

from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from api_schemas.images import Image, ImageUpload
from service.blob_response import IMMUTABLE, BlobResponse, not_modified
from service.dependencies import ServicesDep
from service.http_headers import content_etag, matches_etag
from service.images.service import find_image, make_thumbnail, store_images, to_image
from service.openapi import binary, multipart, problems
from service.problems import (
    BODY_TOO_LARGE,
    IMAGE_TOO_LARGE,
    IMAGE_TRUNCATED,
    INSUFFICIENT_STORAGE,
    MALFORMED_BODY,
    NOT_AN_IMAGE,
    NOT_FOUND,
    RANGE_NOT_SATISFIABLE,
    TOO_FEW_IMAGES,
    TOO_MANY_IMAGES,
    UNSUPPORTED_MEDIA_TYPE,
)
from service.uploads import receive_form

router = APIRouter(prefix="/v1/images", tags=["images"])

DownloadQuery = Annotated[bool, Query(description="Send it as a download instead of showing it.")]
UPLOAD_PROBLEMS = (
    MALFORMED_BODY,
    BODY_TOO_LARGE,
    IMAGE_TOO_LARGE,
    TOO_MANY_IMAGES,
    UNSUPPORTED_MEDIA_TYPE,
    IMAGE_TRUNCATED,
    NOT_AN_IMAGE,
    TOO_FEW_IMAGES,
    INSUFFICIENT_STORAGE,
)


@router.post(
    "",
    status_code=201,
    response_model=ImageUpload,
    responses={
        200: {"model": ImageUpload, "description": "All images were known already."},
        **problems(*UPLOAD_PROBLEMS),
    },
    openapi_extra=multipart(),
)
async def upload_images(request: Request, response: Response, services: ServicesDep) -> ImageUpload:
    """Upload JPEG, PNG or WebP files, each in a part named `images`.

    Pictures are turned upright by their EXIF tag, converted to sRGB, laid over white where transparent, and stripped
    of metadata. The same file, uploaded again, keeps its id. If one file is refused, none is stored.
    """
    async with receive_form(request, services.settings) as form:
        stored = await run_sync(store_images, services, form.files, limiter=services.decoding)
    if not stored.is_new:
        response.status_code = 200
    return ImageUpload(items=[to_image(record) for record in stored.records])


@router.get("/{image_id}", responses=problems(NOT_FOUND))
def get_image(image_id: str, services: ServicesDep) -> Image:
    """Describe an image."""
    return to_image(find_image(services, image_id))


@router.head("/{image_id}/content", include_in_schema=False)
@router.get(
    "/{image_id}/content",
    response_class=Response,
    responses=binary("image/png", "image/jpeg") | problems(NOT_FOUND, RANGE_NOT_SATISFIABLE),
)
def get_image_content(image_id: str, services: ServicesDep, download: DownloadQuery = False) -> Response:
    """Return an image as it is stored; serves ranges, and 304 for `If-None-Match`."""
    record = find_image(services, image_id)
    return BlobResponse(
        services.blobs,
        record.blob_key,
        sha256=record.sha256,
        media_type=record.media_type,
        filename=record.name,
        download=download,
    )


@router.get("/{image_id}/thumbnail", response_class=Response, responses=binary("image/webp") | problems(NOT_FOUND))
async def get_image_thumbnail(
    image_id: str,
    request: Request,
    services: ServicesDep,
    size: Annotated[int, Query(ge=16, le=1024, description="Longest side in pixels.")] = 256,
) -> Response:
    """Return a small WebP picture of an image."""
    record = await run_in_threadpool(find_image, services, image_id)
    etag = content_etag(f"{record.sha256}-{size}")
    if matches_etag(request.headers, etag):
        return not_modified(etag)
    content = await run_sync(make_thumbnail, services, record, size, limiter=services.decoding)
    return Response(content, media_type="image/webp", headers={"ETag": etag, "Cache-Control": IMMUTABLE})
