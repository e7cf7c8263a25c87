"""Whether the files of a catalogue entry are what they should be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from api_schemas.weights import WeightsEntry, WeightsFile
from workers.backbones.weights.checksums import KnownSum, known_sum, read_sums, sha256_of
from workers.backbones.weights.finding import is_there


class FileState(StrEnum):
    """How a file of weights stands."""

    OK = "ok"
    DAMAGED = "damaged"
    NOT_VERIFIED = "not verified"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True)
class FileCheck:
    """What a look at one file has shown."""

    path: Path
    state: FileState
    sha256: str | None = None
    known: KnownSum | None = None

    def complaint(self, name: str) -> str:
        """Say what is wrong with a file that cannot be used, and what mends it."""
        remedy = f"congeal weights pull {name}"
        match self.state, self.known:
            case FileState.DAMAGED, KnownSum(expected, source):
                return (
                    f"weights {self.path} are damaged: their SHA-256 is {self.sha256}, {source} says {expected}; "
                    f"bring them anew with `{remedy} --force`, or delete the file"
                )
            case FileState.UNREADABLE, _:
                return f"weights {self.path} may not be read by this user; change the rights of the file"
            case _:
                return f"weights {self.path} are missing; bring them with `{remedy}`"


def check_files(entry: WeightsEntry, folder: Path) -> Iterator[FileCheck]:
    """Compare each file of an entry in a folder with the sum that is known of it; reads all of it.

    Raises:
        WeightsError: the checksums beside the files cannot be read.
    """
    recorded = read_sums(folder)
    for file in entry.files:
        yield _check(file, folder, recorded)


def _check(file: WeightsFile, folder: Path, recorded: Mapping[str, str]) -> FileCheck:
    path = folder / file.path
    if not is_there(path):
        return FileCheck(path, FileState.MISSING)
    known = known_sum(file, folder, recorded)
    try:
        found = sha256_of(path)
    except OSError:
        return FileCheck(path, FileState.UNREADABLE, known=known)
    if known is None:
        return FileCheck(path, FileState.NOT_VERIFIED, found)
    return FileCheck(path, FileState.OK if found == known.sha256 else FileState.DAMAGED, found, known)
