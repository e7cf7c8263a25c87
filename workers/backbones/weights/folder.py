"""Open the weights of a catalogue entry and vouch for them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from api_schemas.weights import WeightsEntry
from workers.backbones.weights.errors import MissingWeightsError, WeightsError
from workers.backbones.weights.finding import barred_folder, entry_of, find_entry, find_weights, missing_text
from workers.backbones.weights.tensors import read_tensors
from workers.backbones.weights.verification import FileState, check_files

__all__ = ["WeightsError", "WeightsFolder", "find_weights", "missing_text", "open_weights", "read_tensors"]


@dataclass(frozen=True)
class WeightsFolder:
    """All files of one catalogue entry, whole and checked."""

    name: str
    entry: WeightsEntry
    path: Path
    """Folder in which the files lie as in the hub's repository."""
    digest: str
    """SHA-256 over the files, in hex: what these weights are."""


def open_weights(name: str, weights_dir: Path | None) -> WeightsFolder:
    """Find the weights of an entry and check that they are whole.

    Every file is compared with the sum that the catalogue pins, else with the one recorded beside it in `SHA256SUMS`,
    else with the one that the hub's cache knows; where there is none, the file is taken as it is.

    Raises:
        WeightsError: files are missing or unreadable, or a checksum is wrong.
    """
    return open_entry(name, entry_of(name), weights_dir)


def open_entry(name: str, entry: WeightsEntry, weights_dir: Path | None) -> WeightsFolder:
    """Do the same for an entry that need not be in the catalogue."""
    path = find_entry(name, entry, weights_dir)
    if path is None:
        barred = barred_folder(name, weights_dir)
        if barred is not None:
            raise WeightsError(f"the weights folder {barred} may not be read by this user; change its rights")
        raise MissingWeightsError(missing_text(name, entry, weights_dir))
    digest = hashlib.sha256()
    for check in check_files(entry, path):
        if check.sha256 is None or check.state is FileState.DAMAGED:
            raise WeightsError(check.complaint(name))
        digest.update(check.sha256.encode())
    return WeightsFolder(name, entry, path, digest.hexdigest())
