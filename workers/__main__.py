"""`python -m workers`: one supervisor, one runner, one job at a time."""

import os
import sys
import threading
from functools import partial

import structlog

from api_schemas.weights import weights_catalogue
from storage.blobs.local import LocalBlobStore
from storage.broker import wake
from storage.database.session import Database
from storage.errors import StorageError
from workers.backbones.weights.bringing import bring_weights
from workers.backbones.weights.built_in import check_built_in
from workers.backbones.weights.errors import WeightsError
from workers.celery_app import make_worker_app, serve
from workers.health import life_sign
from workers.logs import configure_logging
from workers.periodic import Periodic
from workers.reconciler import Reconciler
from workers.runner_process import RunnerLostError
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor

PRESENCE_S = 20.0
WRONG_SETTINGS = 2
DAMAGED_PACKAGE = 3

log = structlog.get_logger("workers")


def main() -> int:
    """Run a worker with the settings of the environment until told to leave; returns the exit status."""
    configure_logging()
    try:
        settings = WorkerSettings()
        weights_catalogue()
    except ValueError as error:
        log.error("the settings do not fit", error=str(error))
        return WRONG_SETTINGS
    try:
        check_built_in()
    except WeightsError as error:
        log.error("the package is damaged", error=str(error))
        return DAMAGED_PACKAGE
    _prepare_weights(settings)
    database = Database(settings.resolved_database_url)
    database.migrate()
    blobs = LocalBlobStore(settings.blobs_dir)
    app = make_worker_app(settings, work=lambda: supervisor.work())
    send_wake = partial(wake, app)
    supervisor = Supervisor(settings, database=database, blobs=blobs, wake=send_wake)
    reconciler = Reconciler(
        database=database,
        blobs=blobs,
        wake=send_wake,
        holder=supervisor.worker_id,
        period_s=settings.reconcile_s,
        wake_repeat_s=settings.wake_repeat_s,
    )
    duties = [
        Periodic("reconciler", reconciler.tick, period_s=settings.reconcile_s),
        Periodic("presence", supervisor.show_presence, period_s=PRESENCE_S),
    ]
    log.info("worker starts", worker=supervisor.worker_id, lanes=settings.lanes)

    def on_ready() -> None:
        threading.Thread(target=_warm_up, args=(supervisor,), name="warm-up", daemon=True).start()
        for duty in duties:
            duty.start()
        for lane in settings.lanes:
            send_wake(lane)

    status = serve(app, name=supervisor.worker_id, lanes=settings.lanes, on_ready=on_ready, on_shutdown=supervisor.stop)
    for duty in duties:
        duty.stop()
    reconciler.stop()
    supervisor.close()
    database.dispose()
    log.info("worker left", worker=supervisor.worker_id, status=status)
    return status


def _prepare_weights(settings: WorkerSettings) -> None:
    """Bring weights, which may take minutes, before any job is taken; from then on the hub is never asked."""
    if settings.backbones:
        life = Periodic("life", life_sign().touch, period_s=PRESENCE_S)
        life.start()
        bring_weights(settings.backbones, settings.weights_dir, download=settings.weights_download)
        life.stop()
    os.environ["HF_HUB_OFFLINE"] = "1"  # for the runner


def _warm_up(supervisor: Supervisor) -> None:
    try:
        supervisor.warm_up()
    except (RunnerLostError, StorageError) as error:
        log.error("not ready yet; it is tried again with the first job", error=str(error))


if __name__ == "__main__":
    sys.exit(main())
