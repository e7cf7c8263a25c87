"""`python -m workers.health`: whether a worker on this machine shows life, for a container's health check."""

import sys
import tempfile
import time
from pathlib import Path

FRESH_S = 60.0


def life_sign() -> Path:
    """The file that a worker touches each time it has shown itself to the database."""
    return Path(tempfile.gettempdir()) / "congeal-worker.alive"


def complaint(sign: Path, *, fresh_s: float = FRESH_S) -> str | None:
    """Say what is wrong with the worker that touches `sign`, or None when it showed life within `fresh_s` seconds."""
    try:
        age_s = time.time() - sign.stat().st_mtime
    except FileNotFoundError:
        return "no worker has shown life on this machine"
    return None if age_s <= fresh_s else f"the worker's last sign of life is {age_s:.0f} s old; at most {fresh_s:g} s"


if __name__ == "__main__":
    sys.exit(complaint(life_sign()))
