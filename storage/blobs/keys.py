"""Where things lie in a blob store, and what a key may look like."""

import re
from typing import Final

from storage.errors import InvalidKeyError

MAX_KEY_LENGTH: Final = 512
MAX_SEGMENT_LENGTH: Final = 200
# No segment begins with a dot: neither `..` nor the store's own temporary files can be named.
_KEY: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]*(/[a-z0-9_][a-z0-9_.-]*)*")


def check_key(key: str) -> str:
    """Return the key as it is.

    Raises:
        InvalidKeyError: it breaks the grammar, or is too long for a file system.
    """
    too_long = len(key) > MAX_KEY_LENGTH or any(len(part) > MAX_SEGMENT_LENGTH for part in key.split("/"))
    if too_long or _KEY.fullmatch(key) is None:
        raise InvalidKeyError(key)
    return key


def image_key(sha256: str) -> str:
    """Return the key of an image's normalised content."""
    return check_key(f"images/{sha256[:2]}/{sha256[2:4]}/{sha256}")


def mesh_key(sha256: str) -> str:
    """Return the key of a mesh's stored GLB."""
    return check_key(f"meshes/{sha256[:2]}/{sha256[2:4]}/{sha256}")


def job_prefix(job_id: str) -> str:
    """Return the prefix of all that belongs to a job."""
    return check_key(f"jobs/{job_id}")


def attempt_prefix(job_id: str, fence: int) -> str:
    """Return the prefix of what one claim of the job writes; no other claim writes there."""
    return f"{job_prefix(job_id)}/attempt-{fence}"


def artifact_key(job_id: str, fence: int, name: str) -> str:
    """Return the key of an artifact; `fence` is that of the claim that succeeded."""
    return check_key(f"{attempt_prefix(job_id, fence)}/{name}")


def manifest_key(job_id: str, fence: int) -> str:
    """Return the key of a result's manifest."""
    return f"{attempt_prefix(job_id, fence)}/manifest.json"


def checkpoints_prefix(job_id: str) -> str:
    """Return the prefix of a job's checkpoints, which are of no use once it has ended."""
    return f"{job_prefix(job_id)}/checkpoints"


def checkpoint_key(job_id: str, fence: int, number: int) -> str:
    """Return the key of the claim's n-th checkpoint."""
    return f"{checkpoints_prefix(job_id)}/{fence}-{number}.safetensors"


def edit_prefix(job_id: str, edit_id: str) -> str:
    """Return the prefix of what an edit of a job's result has made."""
    return check_key(f"{job_prefix(job_id)}/edits/{edit_id}")


def edit_key(job_id: str, edit_id: str, image_id: str, part: str) -> str:
    """Return the key of one picture of an edit: `part` (`layer` or `composite`) for one image."""
    return check_key(f"{edit_prefix(job_id, edit_id)}/{image_id}-{part}.png")
