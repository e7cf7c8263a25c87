"""Settings come from the environment and have defaults that need nothing."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from storage.settings import StorageSettings


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DATA_DIR", "DATABASE_URL", "BROKER_URL", "MAX_ATTEMPTS"):
        monkeypatch.delenv(f"CONGEAL_{name}", raising=False)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_lie_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = StorageSettings()
    monkeypatch.chdir("/")
    folder = tmp_path / "congeal-data"
    assert settings.data_dir == folder
    assert settings.resolved_database_url == f"sqlite:///{folder}/congeal.db"
    assert (settings.blobs_dir, settings.broker_dir) == (folder / "blobs", folder / "broker")
    assert (settings.broker_url, settings.max_attempts) == (None, 3)


def test_the_environment_overrides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONGEAL_DATA_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("CONGEAL_DATABASE_URL", "postgresql://congeal:secret@db/congeal")
    monkeypatch.setenv("CONGEAL_BROKER_URL", "")
    settings = StorageSettings()
    assert settings.data_dir == tmp_path / "elsewhere"
    assert settings.resolved_database_url == "postgresql://congeal:secret@db/congeal"
    assert settings.broker_url is None, "empty means unset"
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("DATABASE_URL", "mysql://db/congeal", "postgresql://"),
        ("BROKER_URL", "amqp://rabbit", "redis://"),
        ("MAX_ATTEMPTS", "0", "greater than or equal to 1"),
    ],
)
def test_what_is_not_supported_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, remedy: str
) -> None:
    monkeypatch.setenv(f"CONGEAL_{name}", value)
    with pytest.raises(ValidationError, match=remedy):
        StorageSettings()
