"""SHA-256 sums of weights: computing them, and finding out what they should be."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from api_schemas.weights import WeightsFile
from workers.backbones.weights.errors import WeightsError

SUMS_NAME = "SHA256SUMS"
MAX_LINKS = 8

_SUM = re.compile(r"[0-9a-f]{64}")
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


@dataclass(frozen=True)
class KnownSum:
    """What a file's SHA-256 should be, and who says so."""

    sha256: str
    source: str


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def known_sum(file: WeightsFile, folder: Path, recorded: Mapping[str, str]) -> KnownSum | None:
    """Return a file's sum from the catalogue, else as recorded beside it, else as the hub's cache names it."""
    if file.sha256:
        return KnownSum(file.sha256, "the catalogue")
    if file.path in recorded:
        return KnownSum(recorded[file.path], SUMS_NAME)
    named = _sum_in_cache(folder / file.path)
    return KnownSum(named, "the hub's cache") if named else None


def read_sums(folder: Path) -> dict[str, str]:
    """Read a folder's `SHA256SUMS`, in the format of coreutils, into sums by path; empty when there is none.

    Raises:
        WeightsError: a line is no sum, or the file cannot be read.
    """
    path = folder / SUMS_NAME
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise WeightsError(f"the checksums in {path} cannot be read: {error}") from error
    sums = {}
    for number, line in enumerate(lines, start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise WeightsError(
                f"{path}, line {number}: {line!r} is not a SHA-256 sum and a path; mend or delete the file"
            )
        sums[match[2]] = match[1]
    return sums


def write_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Record sums by path in a folder's `SHA256SUMS`, all at once."""
    draft = folder / f".{SUMS_NAME}.{os.getpid()}"
    draft.write_text("".join(f"{sums[path]}  {path}\n" for path in sorted(sums)), encoding="utf-8")
    draft.replace(folder / SUMS_NAME)


def _sum_in_cache(path: Path) -> str | None:
    """Return the SHA-256 that the hub's cache gave a large file as its name.

    Only the link into the repository's own `blobs` names a SHA-256; what that one may link to is named by another hash.
    """
    for _ in range(MAX_LINKS):
        if path.parent.name == "blobs" and path.parent.parent.name.startswith("models--"):
            return path.name if _SUM.fullmatch(path.name) else None
        if not path.is_symlink():
            return None
        path = Path(os.path.normpath(path.parent / path.readlink()))
    return None
