"""The weights that come along in the package."""

from pathlib import Path

from workers.backbones.weights.checksums import sha256_of
from workers.backbones.weights.errors import WeightsError

EMBEDDED_WEIGHTS = Path(__file__).parents[1] / "embedded.safetensors"
EMBEDDED_SHA256 = "c8ba703c90e9c027d4a75cd031b27db4b26c1343574e5251c6f7ea36176319b7"


def check_built_in(path: Path = EMBEDDED_WEIGHTS, sha256: str = EMBEDDED_SHA256) -> Path:
    """Return the file with the weights of the backbone `embedded`, once it is known to be what was shipped.

    Raises:
        WeightsError: it is missing, unreadable or changed; says how to get it back.
    """
    remedy = "install congeal again, or take the file from the repository"
    try:
        found = sha256_of(path)
    except FileNotFoundError as error:
        raise WeightsError(f"the built-in weights {path} are missing; {remedy}") from error
    except OSError as error:
        raise WeightsError(f"the built-in weights {path} cannot be read: {error.strerror}; {remedy}") from error
    if found != sha256:
        raise WeightsError(f"the built-in weights {path} were changed (SHA-256 {found}, not {sha256}); {remedy}")
    return path
