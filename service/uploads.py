"""Receive multipart bodies: files go to disk while they are hashed and counted, nothing is kept in memory."""

import errno
import hashlib
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi.concurrency import run_in_threadpool
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from api_schemas.problems import FieldError
from service.problems import (
    IMAGE_TOO_LARGE,
    MALFORMED_BODY,
    TOO_MANY_IMAGES,
    UNSUPPORTED_MEDIA_TYPE,
    ProblemError,
    ProblemKind,
    json_pointer,
)
from service.settings import ServiceSettings
from storage.errors import StorageFullError

FILES_PART = "images"
MASKS_PART = "masks"
MAX_NAME_LENGTH = 255
ABANDONED_AFTER_S = 24 * 3600.0
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class ReceivedFile:
    """An uploaded file on disk."""

    part: str
    """Name of the part that it came in."""
    index: int
    """Place among the files in parts of that name."""
    name: str
    """What the client calls it; a label only."""
    path: Path
    bytes: int
    sha256: str

    @property
    def pointer(self) -> str:
        """Where it lies in the request."""
        return json_pointer(self.part, self.index)


@dataclass
class ReceivedForm:
    """A whole multipart body."""

    fields: dict[str, bytes] = field(default_factory=dict)
    files: list[ReceivedFile] = field(default_factory=list)
    """Of all parts, in the order in which they came."""

    def files_of(self, part: str) -> list[ReceivedFile]:
        """Return the files in parts of that name, in order."""
        return [file for file in self.files if file.part == part]


@dataclass(frozen=True)
class FileLimit:
    """The largest file that is taken, and how a larger one is refused."""

    bytes: int
    kind: ProblemKind
    what: str
    """What the file is called in the message, such as `image`."""
    remedy: str


@asynccontextmanager
async def receive_form(
    request: Request,
    settings: ServiceSettings,
    *,
    files: frozenset[str] = frozenset({FILES_PART}),
    fields: frozenset[str] = frozenset(),
    limit: FileLimit | None = None,
) -> AsyncIterator[ReceivedForm]:
    """Receive a multipart request with files in parts of the names `files` and with the given text fields.

    `limit` bounds each file; without it that of images does. The files exist within the block only. A client that goes
    away in the middle raises ClientDisconnect.

    Raises:
        ProblemError: not multipart, malformed, an unknown part, or a file or the number of files of a part above
            the limits.
        StorageFullError: no space for the files.
    """
    boundary = _boundary(request, files)
    folder = await run_in_threadpool(_make_folder, settings.uploads_dir)
    limit = limit or FileLimit(settings.max_image_bytes, IMAGE_TOO_LARGE, "image", "scale it down")
    parser = _FormParser(boundary, folder, settings=settings, files=files, fields=fields, limit=limit)
    try:
        async for chunk in request.stream():
            await run_in_threadpool(parser.feed, chunk)
        yield parser.finish()
    finally:
        parser.close()
        # Not in the thread pool: it must also happen when this task is being cancelled.
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(uploads_dir: Path) -> None:
    """Remove what uploads left behind whose process was killed."""
    for folder in uploads_dir.glob("*"):
        # Another process may be at it too.
        with suppress(FileNotFoundError):
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER_S:
                shutil.rmtree(folder, ignore_errors=True)


def is_multipart(request: Request) -> bool:
    """Tell whether the request says that it is a multipart form."""
    return parse_options_header(request.headers.get("content-type"))[0] == b"multipart/form-data"


def _boundary(request: Request, files: frozenset[str]) -> bytes:
    given = request.headers.get("content-type", "none")
    if not is_multipart(request):
        parts = " or ".join(repr(part) for part in sorted(files))
        detail = f"the Content-Type is {given[:100]}; send multipart/form-data with the files in parts named {parts}"
        raise ProblemError(UNSUPPORTED_MEDIA_TYPE, detail)
    boundary = parse_options_header(given)[1].get(b"boundary")
    if not boundary:
        raise ProblemError(MALFORMED_BODY, "the Content-Type names no boundary; let the HTTP library write it")
    return boundary


def _make_folder(parent: Path) -> Path:
    with disk_errors():
        parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=parent))


@contextmanager
def disk_errors() -> Iterator[None]:
    """Turn "no space left" into StorageFullError."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        raise StorageFullError(f"no space for an upload ({error.strerror}); free some and try again") from error


def safe_name(filename: str, what: str = "image") -> str:
    """Reduce a client's file name to a label: no folders, no control characters, bounded length; `what` if empty."""
    base = filename.replace("\\", "/").rsplit("/", 1)[-1]
    return CONTROL_CHARACTERS.sub("", base)[:MAX_NAME_LENGTH].strip() or what


@dataclass
class _OpenPart:
    """The part whose bytes are arriving."""

    name: str = ""
    filename: str = ""
    index: int = 0
    path: Path = Path()
    size: int = 0
    text: bytearray = field(default_factory=bytearray)
    sink: BinaryIO | None = None


class _FormParser:
    """Writes the files of a multipart body to a folder as chunks come in."""

    def __init__(
        self,
        boundary: bytes,
        folder: Path,
        *,
        settings: ServiceSettings,
        files: frozenset[str],
        fields: frozenset[str],
        limit: FileLimit,
    ) -> None:
        self._folder = folder
        self._limit = limit
        self._settings = settings
        self._known_files = files
        self._known_fields = fields
        self._form = ReceivedForm()
        self._part = _OpenPart()
        self._digest = hashlib.sha256()
        self._header = (bytearray(), bytearray())
        self._headers: dict[bytes, bytes] = {}
        self._complete = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": lambda data, start, end: self._header[0].extend(data[start:end]),
                    "on_header_value": lambda data, start, end: self._header[1].extend(data[start:end]),
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._end_headers,
                    "on_part_data": self._take,
                    "on_part_end": self._end_part,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise ProblemError(MALFORMED_BODY, f"the boundary cannot be used: {error}") from error

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        try:
            with disk_errors():
                self._parser.write(chunk)
        except FormParserError as error:
            raise ProblemError(MALFORMED_BODY, f"the multipart body is malformed: {error}") from error

    def finish(self) -> ReceivedForm:
        """Return the form once the body has ended."""
        if not self._complete:
            raise ProblemError(MALFORMED_BODY, "the multipart body ends before its closing boundary; send it again")
        return self._form

    def close(self) -> None:
        """Close the file that was being written."""
        if self._part.sink is not None:
            # On a full disk closing fails too; the file is about to be removed.
            with suppress(OSError):
                self._part.sink.close()

    def _begin_part(self) -> None:
        self._part = _OpenPart()
        self._headers = {}

    def _end_header(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = (bytearray(), bytearray())

    def _end_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        self._part.name = _decoded(options.get(b"name", b""))
        filename = options.get(b"filename")
        if self._part.name in self._known_fields:
            if self._part.name in self._form.fields:
                raise _bad_part(self._part.name, "repeated-part", "this part may stand only once")
        elif self._part.name not in self._known_files:
            known = ", ".join(sorted(self._known_files | self._known_fields))
            raise _bad_part(self._part.name, "unknown-part", f"there is no such part; known are: {known}")
        elif filename is None:
            raise _bad_part(self._part.name, "no-file", "the part has no file name; send it as a file")
        else:
            self._open_file(safe_name(_decoded(filename), self._limit.what))

    def _open_file(self, name: str) -> None:
        part, limit = self._part.name, self._settings.max_images_per_request
        index = len(self._form.files_of(part))
        if index >= limit:
            raise ProblemError(
                TOO_MANY_IMAGES,
                f"one request may bring {limit} {part}; send the others in further requests",
                errors=[FieldError(pointer=json_pointer(part, index), code="too-many", detail=f"limit {limit}")],
            )
        self._part.filename = name
        self._part.index = index
        self._part.path = self._folder / str(len(self._form.files))
        self._digest = hashlib.sha256()
        self._part.sink = self._part.path.open("xb")

    def _take(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.size += end - start
        if part.sink is None:
            # Text counts against the whole body's limit only; see BodyLimitMiddleware.
            if part.size > self._settings.max_json_bytes:
                limit = self._settings.max_json_bytes
                raise _bad_part(part.name, "too-long", f"this part may have {limit} bytes")
            part.text.extend(data[start:end])
            return
        if part.size > self._limit.bytes:
            raise self._file_too_large()
        piece = data[start:end]
        self._digest.update(piece)
        part.sink.write(piece)

    def _file_too_large(self) -> ProblemError:
        part, limit = self._part, self._limit
        detail = f"{part.filename!r} has more than {limit.bytes} bytes, the limit for one {limit.what}; {limit.remedy}"
        error = FieldError(pointer=json_pointer(part.name, part.index), code="too-many-bytes", detail=detail)
        return ProblemError(limit.kind, detail, errors=[error])

    def _end_part(self) -> None:
        part = self._part
        if part.sink is None:
            self._form.fields[part.name] = bytes(part.text)
            return
        part.sink.close()
        digest = self._digest.hexdigest()
        self._form.files.append(ReceivedFile(part.name, part.index, part.filename, part.path, part.size, digest))

    def _end(self) -> None:
        self._complete = True


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _bad_part(name: str, code: str, detail: str) -> ProblemError:
    error = FieldError(pointer=json_pointer(name), code=code, detail=detail)
    return ProblemError(MALFORMED_BODY, f"part {name[:100]!r}: {detail}", errors=[error])
