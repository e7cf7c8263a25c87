"""A real API on SQLite and files, empty at the start of each test."""

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import structlog
from fastapi import FastAPI
from fastapi.testclient import TestClient

from api_schemas.methods.registry import method_specs
from service.app import create_app
from service.dependencies import Services
from service.settings import ServiceSettings
from tests.service.servers import serving_thread

MakeSettings = Callable[..., ServiceSettings]


@pytest.fixture(scope="session", autouse=True)
def plain_log() -> Iterator[None]:
    """Log errors only, and without decoration, which takes seconds to draw for a traceback."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
    )
    yield
    structlog.reset_defaults()


@pytest.fixture
def make_settings(tmp_path: Path, sqlite_template: Path) -> MakeSettings:
    """Make settings with some changed; the database is migrated already."""
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    shutil.copy(sqlite_template, data_dir / "congeal.db")

    def make(**changed: object) -> ServiceSettings:
        given = {"data_dir": data_dir, "database_url": None, "broker_url": None, "poll_interval_s": 0.02, **changed}
        return ServiceSettings.model_validate(given)

    return make


@pytest.fixture
def app(make_settings: MakeSettings) -> FastAPI:
    """The API with small limits, to run into."""
    return create_app(
        make_settings(
            max_image_bytes=200_000,
            max_image_pixels=200 * 200,
            max_image_side=300,
            max_images_per_request=4,
            max_body_bytes=1_000_000,
            max_json_bytes=100_000,
            max_answer_points=1000,
        )
    )


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client of the API."""
    with TestClient(app) as opened:
        yield opened


@pytest.fixture
def services(app: FastAPI) -> Services:
    """The parts of the API, to look behind it."""
    found: Services = app.state.services
    return found


@pytest.fixture
def plain_method() -> Iterator[str]:
    """The id of a method of another package: it takes no masks, extends nothing, and says what it needs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent / "plain_method"))
        method_specs.cache_clear()
        yield "plain"
    method_specs.cache_clear()


@dataclass(frozen=True)
class Live:
    """An API behind a real socket, from outside and from inside."""

    client: httpx.Client
    services: Services


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Live]:
    """An API behind a real socket, shared by the tests of a module."""
    data_dir = tmp_path_factory.mktemp("live")
    shutil.copy(sqlite_template, data_dir / "congeal.db")
    app = create_app(
        ServiceSettings(
            data_dir=data_dir, database_url=None, broker_url=None, poll_interval_s=0.02, ping_interval_s=0.1
        )
    )
    with serving_thread(app) as url, httpx.Client(base_url=url, trust_env=False) as opened:
        yield Live(opened, app.state.services)
