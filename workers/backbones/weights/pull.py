"""Bring the weights of a catalogue entry from the hub: whole and verified, or not at all."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.file_download import repo_folder_name

from api_schemas.weights import WeightsEntry
from workers.backbones.weights.checksums import sha256_of, write_sums
from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.finding import cached_file, entry_of, find_entry, is_there
from workers.backbones.weights.hub import RemoteFile, ask, download
from workers.backbones.weights.room import alone, ensure_room, writing_to

STAGING = ".pulling"
"""Folder in the weights folder where files lie until all of an entry are verified."""


def pull(name: str, weights_dir: Path | None, *, force: bool = False) -> Path:
    """Bring weights from the hub, unless they are on this machine already.

    Args:
        name: entry of the catalogue.
        weights_dir: they come into the folder `name` in it; into the hub's cache when None.
        force: bring them anew even when they are here.

    Returns:
        The folder with the files.

    Raises:
        HubUnreachableError: the hub does not answer, or the connection broke off for good.
        HubRefusedError: the hub does not have them, or does not give them to this user.
        WeightsError: no rights, no room, or a wrong checksum; no file of them is left in use.
    """
    return pull_entry(name, entry_of(name), weights_dir, force=force)


def pull_entry(name: str, entry: WeightsEntry, weights_dir: Path | None, *, force: bool = False) -> Path:
    """Do the same for an entry that need not be in the catalogue."""
    found = None if force else find_entry(name, entry, weights_dir)
    if found is not None:
        return found
    if weights_dir is None:
        cache = Path(constants.HF_HUB_CACHE)
        with writing_to(cache, setting="HF_HOME"):
            return _into_cache(name, entry, cache, force=force)
    with writing_to(weights_dir, setting="CONGEAL_WEIGHTS_DIR"), alone(weights_dir / STAGING / f"{name}.lock"):
        found = None if force else find_entry(name, entry, weights_dir)
        return found or _into_folder(name, entry, weights_dir, force=force)


def _into_folder(name: str, entry: WeightsEntry, weights_dir: Path, *, force: bool) -> Path:
    """Stage what is missing, verify it, and only then move it to where it is looked for."""
    target, staging = weights_dir / name, weights_dir / STAGING / name
    if force:
        shutil.rmtree(staging, ignore_errors=True)
    for leftover in staging.rglob("*.incomplete"):  # of a process that was killed
        leftover.unlink()
    remote = _ask(entry)
    sums = {} if force else _kept(remote, target)
    wanted = [file for file in remote if file.path not in sums]
    staged = sum((staging / file.path).stat().st_size for file in wanted if is_there(staging / file.path))
    ensure_room(weights_dir, sum(file.size for file in wanted) - staged, setting="CONGEAL_WEIGHTS_DIR")
    for file in wanted:
        path = download(entry, file.file, staging)
        sums[file.path] = _verified(name, file, path, damaged=[staging])
    target.mkdir(exist_ok=True)
    write_sums(target, sums)
    for file in wanted:
        (target / file.path).parent.mkdir(parents=True, exist_ok=True)
        (staging / file.path).replace(target / file.path)
    shutil.rmtree(staging)
    return target


def _into_cache(name: str, entry: WeightsEntry, cache: Path, *, force: bool) -> Path:
    """Let the hub's library fill its cache, and verify what it brought."""
    remote = _ask(entry)
    wanted = [file for file in remote if force or cached_file(entry, file.file) is None]
    ensure_room(cache, sum(file.size for file in wanted), setting="HF_HOME")
    for file in remote:
        _sweep_cache(entry, file, cache)
        path = download(entry, file.file, None, force=force)
        blob = path.parent / path.readlink() if path.is_symlink() else path
        _verified(name, file, path, damaged=[blob, path])
    found = find_entry(name, entry, None)
    if found is None:
        raise WeightsError(f"weights {name!r} changed in the hub while they were brought; bring them again")
    return found


def _ask(entry: WeightsEntry) -> list[RemoteFile]:
    """Ask for every file before the first one is brought; refuse what the catalogue would refuse."""
    remote = [ask(entry, file) for file in entry.files]
    for found in remote:
        pinned = found.file.sha256
        if pinned and found.sha256 and found.sha256 != pinned:
            raise WeightsError(
                f"the hub's {entry.hub}/{found.path} has SHA-256 {found.sha256}, the catalogue pins {pinned}; "
                "it was not brought. Ask another hub with HF_ENDPOINT, or see whether a newer Congeal knows this file"
            )
    return remote


def _kept(remote: Sequence[RemoteFile], folder: Path) -> dict[str, str]:
    """Return the sums of the files that are in place already and are known to be right."""
    here = [file for file in remote if file.expected and is_there(folder / file.path)]
    sums = {file.path: sha256_of(folder / file.path) for file in here}
    return {file.path: sums[file.path] for file in here if sums[file.path] == file.expected}


def _verified(name: str, file: RemoteFile, path: Path, *, damaged: Sequence[Path]) -> str:
    """Return a file's sum; on a wrong one delete what is `damaged`."""
    found = sha256_of(path)
    if file.expected is not None and found != file.expected:
        for leftover in damaged:
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)
        raise WeightsError(
            f"{file.path} of weights {name!r} arrived with SHA-256 {found}, but it should be {file.expected}; "
            f"it was deleted. Bring it again with `congeal weights pull {name}`"
        )
    return found


def _sweep_cache(entry: WeightsEntry, file: RemoteFile, cache: Path) -> None:
    """Delete what a killed process left of this file, once nobody is bringing it."""
    repository = repo_folder_name(repo_id=entry.hub, repo_type="model")
    lock = cache / ".locks" / repository / f"{file.etag}.lock"
    leftovers = list((cache / repository / "blobs").glob(f"{file.etag}.*.incomplete"))
    if leftovers:
        with alone(lock):
            for leftover in leftovers:
                leftover.unlink(missing_ok=True)
