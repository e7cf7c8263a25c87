"""Settings that every part shares, read from `CONGEAL_*` environment variables."""

from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

DATABASE_SCHEMES = ("sqlite", "postgresql", "postgres")
BROKER_SCHEMES = ("redis", "rediss", "redis+socket")


def _absolute(folder: Path) -> Path:
    return folder.expanduser().resolve()


def _database_url(url: str) -> str:
    scheme = urlsplit(url).scheme.partition("+")[0]
    if scheme not in DATABASE_SCHEMES:
        raise ValueError(
            f"database scheme {scheme!r} is not supported; use sqlite:///<path> or postgresql://<host>/<name>"
        )
    return url


def _broker_url(url: str) -> str:
    scheme = urlsplit(url).scheme
    if scheme not in BROKER_SCHEMES:
        raise ValueError(f"broker scheme {scheme!r} is not supported; use redis://, or unset it to use the data folder")
    return url


class StorageSettings(BaseSettings):
    """Where rows, bytes and messages are kept; the defaults need nothing but a folder."""

    model_config = SettingsConfigDict(env_prefix="CONGEAL_", env_ignore_empty=True, frozen=True)

    data_dir: Annotated[Path, AfterValidator(_absolute)] = Field(
        default=Path("congeal-data"),
        validate_default=True,
        description="Folder of the bytes, and of the database and the messages unless they have URLs.",
    )
    database_url: Annotated[str, AfterValidator(_database_url)] | None = Field(
        default=None, repr=False, description="SQLAlchemy URL; SQLite in the data folder when unset."
    )
    broker_url: Annotated[str, AfterValidator(_broker_url)] | None = Field(
        default=None, repr=False, description="Redis URL; files in the data folder when unset."
    )
    max_attempts: int = Field(default=3, ge=1, le=100, description="Claims of a job before a lost worker fails it.")

    @property
    def resolved_database_url(self) -> str:
        """The database's URL, given or made from the data folder."""
        return self.database_url or f"sqlite:///{self.data_dir / 'congeal.db'}"

    @property
    def blobs_dir(self) -> Path:
        """Root of the local blob store."""
        return self.data_dir / "blobs"

    @property
    def broker_dir(self) -> Path:
        """Root of the messages when no broker URL is given."""
        return self.data_dir / "broker"
