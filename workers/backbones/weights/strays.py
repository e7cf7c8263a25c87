"""Checkpoints in a weights folder that are not what is looked for there; imports no torch."""

import os
from collections.abc import Iterator
from pathlib import Path

from api_schemas.weights import WeightsEntry

_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_SINGLE_FILE = ".safetensors"


def stray_text(name: str, entry: WeightsEntry, weights_dir: Path | None) -> str | None:
    """Say which file lies in an entry's folder in place of its own, why it is not taken, and what to bring.

    Args:
        name: of the entry, and so of its folder.
        entry: whose files are looked for.
        weights_dir: the folder of all weights, if there is one.

    Returns:
        None where nothing of the kind is there, or the entry is complete.
    """
    if weights_dir is None:
        return None
    folder = weights_dir / name
    missing = [file.path for file in entry.files if not os.path.isfile(folder / file.path)]
    stray = next(_strays(folder, entry), None) if missing else None
    if stray is None:
        return None
    is_pickle = stray.suffix in _PICKLES
    reason = "a pickle can run any code when it is read" if is_pickle else "it has not the layout of the hub's folders"
    return (
        f"{folder} holds {stray.relative_to(folder)}, which is not taken: {reason}. Put the files of {entry.hub}, or "
        f"of a checkpoint laid out alike, there: {', '.join(missing)}"
    )


def _strays(folder: Path, entry: WeightsEntry) -> Iterator[Path]:
    """Find checkpoints that are no file of the entry: of any kind at the top, pickles beside its files too."""
    own = {folder / file.path for file in entry.files}
    for place in dict.fromkeys([folder, *sorted(path.parent for path in own)]):
        suffixes = (*_PICKLES, _SINGLE_FILE) if place == folder else _PICKLES
        yield from (path for path in _files_in(place) if path.suffix in suffixes and path not in own)


def _files_in(folder: Path) -> list[Path]:
    """List a folder's files; none where there is no such folder or one may not look."""
    try:
        return sorted(path for path in folder.iterdir() if path.is_file())
    except OSError:
        return []
