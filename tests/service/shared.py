"""One API for the tests of a module, where they change nothing that others see."""

import shutil
from pathlib import Path
from typing import cast

from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.app import create_app
from service.dependencies import Services
from service.settings import ServiceSettings


def small_app(data_dir: Path, sqlite_template: Path, **changed: object) -> FastAPI:
    """Make an API on an empty folder, with small limits on what is asked."""
    shutil.copy(sqlite_template, data_dir / "congeal.db")
    given = {"data_dir": data_dir, "database_url": None, "broker_url": None, "max_answer_points": 1000, **changed}
    return create_app(ServiceSettings.model_validate(given))


def services_of(client: TestClient) -> Services:
    """The parts of the API that a client asks, to look behind it."""
    return cast(Services, client.app.state.services)  # type: ignore[attr-defined]
