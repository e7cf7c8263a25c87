"""Wake-up messages over files and over a real Redis."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest
from celery import Celery

from storage.broker import PUBLISH_TIMEOUT_S, WAKE_TASK, make_celery, queue_name, wake
from storage.settings import StorageSettings
from tests.servers import RedisServer, free_port


@pytest.fixture(params=["filesystem", "redis"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Celery:
    url = request.getfixturevalue("redis_url") if request.param == "redis" else None
    return make_celery(StorageSettings(data_dir=tmp_path / "data", broker_url=url))


def receive(app: Celery, lane: str) -> list[Any]:
    """Take all messages of the lane, as a worker would, and return their arguments."""
    taken = []
    with app.connection_for_read() as connection, connection.SimpleQueue(queue_name(lane)) as queue:
        while True:
            try:
                message = queue.get(block=True, timeout=0.3)
            except queue.Empty:
                return taken
            assert message.headers["task"] == WAKE_TASK
            assert message.content_type == "application/json"
            message.ack()
            taken.append(message.payload[0])


def test_a_wake_up_reaches_its_lane_and_no_other(app: Celery) -> None:
    wake(app, "default")
    wake(app, "gpu.large")
    wake(app, "default")
    assert receive(app, "default") == [["default"], ["default"]]
    assert receive(app, "gpu.large") == [["gpu.large"]]
    assert receive(app, "default") == []


def test_the_settings_that_long_tasks_need(app: Celery) -> None:
    assert app.conf.task_acks_late
    assert app.conf.worker_prefetch_multiplier == 1
    assert app.conf.task_ignore_result
    assert app.conf.result_backend is None
    assert app.conf.accept_content == ["json"]
    assert app.conf.broker_connection_retry_on_startup
    assert app.conf.worker_cancel_long_running_tasks_on_connection_loss is False


def test_taken_messages_stay_in_the_data_folder_and_are_discarded(tmp_path: Path) -> None:
    app = make_celery(StorageSettings(data_dir=tmp_path))
    wake(app, "default")
    receive(app, "default")
    (processed,) = (tmp_path / "broker" / "processed").iterdir()
    wake(app, "default")
    assert processed.exists(), "a worker may still be reading it"
    later = time.time() + 120
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: later)
        wake(app, "default")
    assert not processed.exists()
    assert {path.name for path in (tmp_path / "broker").iterdir()} == {"messages", "processed", "control"}
    assert os.listdir(tmp_path) == ["broker"]


def test_a_broker_that_is_away_is_logged_and_soon_forgotten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    app = make_celery(StorageSettings(data_dir=tmp_path, broker_url=f"redis://127.0.0.1:{free_port()}/0"))
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="storage.broker"):
        wake(app, "default")
    assert time.monotonic() - begin < 2 * PUBLISH_TIMEOUT_S
    assert "could not wake lane default" in caplog.text


def test_a_broker_that_came_back_is_used_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    app = make_celery(StorageSettings(data_dir=tmp_path, broker_url=server.url))
    try:
        wake(app, "default")
        server.kill()
        wake(app, "default")
        assert "could not wake lane default" in caplog.text
        server.start()
        wake(app, "default")
        assert receive(app, "default") == [["default"]]
    finally:
        server.kill()
