"""Where the weights of a catalogue entry lie on this machine; imports no torch."""

import os
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from api_schemas.weights import WeightsEntry, WeightsFile, weights_catalogue
from workers.backbones.weights.strays import stray_text


def entry_of(name: str) -> WeightsEntry:
    """Return an entry of the catalogue."""
    return weights_catalogue()[name]


def find_weights(name: str, weights_dir: Path | None) -> Path | None:
    """Return the folder with every file of an entry, or None: the weights folder first, then the hub's cache."""
    return find_entry(name, entry_of(name), weights_dir)


def find_entry(name: str, entry: WeightsEntry, weights_dir: Path | None) -> Path | None:
    """Do the same for an entry that need not be in the catalogue."""
    return next((place for place in places(name, entry, weights_dir) if is_complete(entry, place)), None)


def weights_at_hand(weights_dir: Path | None) -> list[str]:
    """Name the entries of the catalogue of which every file is on this machine."""
    return [name for name in weights_catalogue() if find_weights(name, weights_dir) is not None]


def places(name: str, entry: WeightsEntry, weights_dir: Path | None) -> list[Path]:
    """List the folders that hold at least one file of an entry, the preferred one first."""
    own = [weights_dir / name] if weights_dir is not None else []
    return [place for place in (*own, *_cached(entry)) if any(is_there(place / file.path) for file in entry.files)]


def is_complete(entry: WeightsEntry, place: Path) -> bool:
    """Tell whether a folder holds every file of an entry."""
    return all(is_there(place / file.path) for file in entry.files)


def is_there(path: Path) -> bool:
    """Tell whether there is a file, or False where one may not look."""
    return os.path.isfile(path)


def cached_file(entry: WeightsEntry, file: WeightsFile) -> Path | None:
    """Return a file of an entry's revision in the hub's cache, or None where there is none or one may not look."""
    try:
        path = try_to_load_from_cache(entry.hub, file.path, revision=entry.revision)
    except OSError:
        return None
    return Path(path) if isinstance(path, str) else None


def barred_folder(name: str, weights_dir: Path | None) -> Path | None:
    """Return the folder that this user may not look into for an entry, if there is one."""
    folders = [weights_dir, weights_dir / name] if weights_dir is not None else []
    return next((path for path in folders if os.path.isdir(path) and not _may_look_into(path)), None)


def missing_text(name: str, entry: WeightsEntry, weights_dir: Path | None) -> str:
    """Say what is missing, how large it is, which command brings it, and what lies in its place."""
    stray = stray_text(name, entry, weights_dir)
    return (
        f"weights {name!r} are not on this machine ({entry.bytes / 1e6:.0f} MB from {entry.hub}, {entry.license}); "
        f"bring them with `congeal weights pull {name}`" + (f". {stray}" if stray else "")
    )


def _may_look_into(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK, effective_ids=True)


def _cached(entry: WeightsEntry) -> list[Path]:
    """Return the folder of an entry's revision in the hub's cache, if there is one."""
    for file in entry.files:
        path = cached_file(entry, file)
        if path is not None:
            return [path.parents[file.path.count("/")]]
    return []
