"""Turn local files into uploaded images, in requests that stay under the service's limits."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx

from api_schemas.images import Image, ImageUpload
from client.errors import ProblemError
from client.transport import Transport, parse

# Well under the service's defaults; a service with tighter limits makes the client halve its requests.
REQUEST_BYTES = 48 * 2**20
REQUEST_FILES = 20
# The service decodes every picture before it answers.
ANSWER_TIMEOUT_S = 300.0
TOO_MUCH = frozenset({"body-too-large", "too-many-images"})
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif"})


def collect_pictures(paths: Sequence[Path]) -> list[Path]:
    """Return files as they are, and in place of a folder the pictures in it by name.

    Raises:
        FileNotFoundError: a path does not exist, or a folder holds no pictures.
    """
    pictures: list[Path] = []
    for path in paths:
        if path.is_file():
            pictures.append(path)
            continue
        found = sorted(entry for entry in path.glob("*") if entry.suffix.lower() in PICTURE_SUFFIXES)
        if not found:
            what = "holds no pictures" if path.is_dir() else "does not exist"
            raise FileNotFoundError(f"{path} {what}; give picture files or folders with pictures")
        pictures.extend(found)
    return pictures


def upload_pictures(transport: Transport, paths: Sequence[Path]) -> list[Image]:
    """Upload files in order; the service answers a picture it already knows with the id that it has.

    Raises:
        ProblemError: the service refused a file; its message names the file.
        FileNotFoundError: a path does not exist.
    """
    images: list[Image] = []
    for batch in batches(paths):
        images.extend(_upload_batch(transport, batch))
    return images


def check_distinct(images: Sequence[Image]) -> None:
    """Refuse a picture that came twice, by name, before the service refuses its id.

    Raises:
        ValueError: two uploads have the same content.
    """
    names: dict[str, list[str]] = {}
    for image in images:
        names.setdefault(image.id, []).append(image.name)
    for same in names.values():
        if len(same) > 1:
            raise ValueError(f"{len(same)} of the files hold the same picture as {same[0]!r}; give each picture once")


def batches(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Split files, in order, into requests of bounded size; a file larger than a request goes alone."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        weight = path.stat().st_size
        if batch and (len(batch) == REQUEST_FILES or size + weight > REQUEST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += weight
    if batch:
        yield batch


def _upload_batch(transport: Transport, batch: list[Path]) -> list[Image]:
    try:
        answer = transport.send(lambda: _post_files(transport.http, batch))
    except ProblemError as error:
        if error.problem.code not in TOO_MUCH or len(batch) == 1:
            raise
        half = len(batch) // 2
        return _upload_batch(transport, batch[:half]) + _upload_batch(transport, batch[half:])
    return parse(answer, ImageUpload).items


def _post_files(http: httpx.Client, batch: list[Path]) -> httpx.Response:
    with ExitStack() as stack:
        files = [
            ("images", (path.name, stack.enter_context(path.open("rb")), "application/octet-stream")) for path in batch
        ]
        return http.post("/v1/images", files=files, timeout=httpx.Timeout(60.0, read=ANSWER_TIMEOUT_S))
