"""Speaking with the hub: what it has, one file at a time, and what its refusals mean."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import constants, get_hf_file_metadata, hf_hub_download, hf_hub_url
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from api_schemas.weights import WeightsEntry, WeightsFile
from workers.backbones.weights.errors import HubRefusedError, HubUnreachableError

UNAUTHORIZED = 401
FORBIDDEN = 403
SERVER_ERROR = 500

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub has it now."""

    file: WeightsFile
    size: int
    """Bytes."""
    etag: str

    @property
    def path(self) -> str:
        """Path in the repository."""
        return self.file.path

    @property
    def expected(self) -> str | None:
        """SHA-256 that the file must have: the catalogue's, else the hub's."""
        return self.file.sha256 or self.sha256

    @property
    def sha256(self) -> str | None:
        """The hub's own checksum, which it has of large files."""
        return self.etag if _SHA256.fullmatch(self.etag) else None


def ask(entry: WeightsEntry, file: WeightsFile) -> RemoteFile:
    """Ask the hub for a file's size and checksum.

    Raises:
        HubUnreachableError: no answer.
        HubRefusedError: no such file, or not for this user.
    """
    with explained(entry):
        found = get_hf_file_metadata(hf_hub_url(entry.hub, file.path, revision=entry.revision))
    return RemoteFile(file, size=found.size or file.bytes, etag=found.etag or "")


def download(entry: WeightsEntry, file: WeightsFile, folder: Path | None, *, force: bool = False) -> Path:
    """Bring a file into a folder, or into the hub's cache; a connection that breaks off is taken up again.

    Raises:
        HubUnreachableError: no answer, or it broke off for good.
        HubRefusedError: no such file, or not for this user.
        OSError: the file cannot be written.
    """
    with explained(entry):
        return Path(
            hf_hub_download(entry.hub, file.path, revision=entry.revision, local_dir=folder, force_download=force)
        )


@contextmanager
def explained(entry: WeightsEntry) -> Iterator[None]:
    """Turn what the hub's library raises into errors that say what to do."""
    page = f"{constants.ENDPOINT}/{entry.hub}"
    try:
        yield
    except (RevisionNotFoundError, RemoteEntryNotFoundError) as error:
        raise HubRefusedError(
            f"{page} has no such file at revision {entry.revision!r}: {error.response.url}"
        ) from error
    except GatedRepoError as error:
        raise HubRefusedError(_locked_text(entry, page)) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status == UNAUTHORIZED:  # of gated, of private and of unknown repositories
            raise HubRefusedError(f"the hub knows no {page}, or else {_locked_text(entry, page)}") from error
        if status == FORBIDDEN:
            raise HubRefusedError(_locked_text(entry, page)) from error
        if isinstance(error, RepositoryNotFoundError):
            raise HubRefusedError(f"the hub knows no {page}") from error
        kind = HubUnreachableError if status >= SERVER_ERROR else HubRefusedError
        raise kind(f"{page} answered with HTTP status {status}; try again later") from error
    except OfflineModeIsEnabled as error:
        raise HubUnreachableError(f"{page} is not asked, because HF_HUB_OFFLINE is set; unset it") from error
    except OSError as error:
        if error.errno is not None:  # of this machine's disk, not of the network
            raise
        raise HubUnreachableError(_silent_text(page, error)) from error
    except (httpx2.HTTPError, RuntimeError, ValueError) as error:
        raise HubUnreachableError(_silent_text(page, error)) from error


def _silent_text(page: str, error: Exception) -> str:
    return (
        f"no answer from {page}, or it broke off: {error.__cause__ or error}. Check the network, the proxy and "
        "HF_ENDPOINT, or put the files into CONGEAL_WEIGHTS_DIR by hand"
    )


def _locked_text(entry: WeightsEntry, page: str) -> str:
    return (
        f"the hub does not give {page} to this user: accept its license ({entry.license}) on that page, "
        "then set HF_TOKEN to a token of that account"
    )
