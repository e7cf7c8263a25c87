"""Wake-up messages: Celery over Redis, or over files when there is no server.

A message never carries a job, only the name of a lane that may have work. It may be lost, late or doubled without harm:
the job's row is the truth, and the reconciler wakes lanes again.
"""

import logging
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from celery import Celery

from storage.settings import StorageSettings

WAKE_TASK: Final = "congeal.wake"
PUBLISH_TIMEOUT_S: Final = 2.0
SOCKET_TIMEOUT_S: Final = 10.0
PROCESSED_KEPT_S: Final = 60.0

_log = logging.getLogger(__name__)


def queue_name(lane: str) -> str:
    """Return the queue that a worker of the lane listens to."""
    return f"congeal.{lane}"


def make_celery(settings: StorageSettings) -> Celery:
    """Return a Celery application bound to the broker; tasks are the caller's to register."""
    url, transport_options = _transport(settings)
    app = Celery("congeal", broker=url)
    app.conf.update(
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=PUBLISH_TIMEOUT_S,
        broker_transport_options=transport_options,
        enable_utc=True,
        event_serializer="json",
        result_backend=None,
        result_serializer="json",
        task_acks_late=True,
        task_default_queue=queue_name("default"),
        task_ignore_result=True,
        task_reject_on_worker_lost=True,
        task_serializer="json",
        task_store_errors_even_if_ignored=False,
        task_track_started=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=True,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
    )
    return app


def wake(app: Celery, lane: str) -> None:
    """Tell a worker of the lane that there may be work; when the broker is away, log it and go on."""
    try:
        app.send_task(
            WAKE_TASK,
            args=[lane],
            queue=queue_name(lane),
            retry=True,
            retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1},
        )
    except Exception as error:
        # Whatever a transport raises: the row is committed, and the reconciler will wake the lane again.
        _log.warning("could not wake lane %s (%s: %s); it will be woken again", lane, type(error).__name__, error)
    _discard_processed(app)


def _transport(settings: StorageSettings) -> tuple[str, dict[str, Any]]:
    if settings.broker_url is None:
        return "filesystem://", _filesystem_options(settings.broker_dir)
    return settings.broker_url, {
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": PUBLISH_TIMEOUT_S,
        "socket_keepalive": True,
        "max_retries": 1,
        "interval_start": 0,
    }


def _filesystem_options(folder: Path) -> dict[str, Any]:
    folders = {name: folder / name for name in ("messages", "processed", "control")}
    for path in folders.values():
        path.mkdir(parents=True, exist_ok=True)
    return {
        "data_folder_in": str(folders["messages"]),
        "data_folder_out": str(folders["messages"]),
        # Otherwise messages are moved to the system's temporary folder, which may lie on another disk, where a move
        # is a copy and two workers can take the same message.
        "store_processed": True,
        "processed_folder": str(folders["processed"]),
        "control_folder": str(folders["control"]),
    }


def _discard_processed(app: Celery) -> None:
    folder = app.conf.broker_transport_options.get("processed_folder")
    if folder is None:
        return
    for message in Path(folder).glob("*.msg"):
        with suppress(FileNotFoundError):
            if time.time() - message.stat().st_ctime > PROCESSED_KEPT_S:
                message.unlink()
