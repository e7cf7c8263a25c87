"""What a worker does about weights before it takes jobs."""

from collections.abc import Iterable
from pathlib import Path

import structlog

from api_schemas.weights import size_text, weights_for
from workers.backbones.weights.errors import WeightsError
from workers.backbones.weights.finding import entry_of, find_weights, missing_text
from workers.backbones.weights.pull import pull

log = structlog.get_logger("workers.weights")


def bring_weights(backbones: Iterable[str], weights_dir: Path | None, *, download: bool) -> None:
    """Bring the weights of backbones; what cannot be brought is logged with the remedy, and the rest goes on.

    Args:
        backbones: their names.
        weights_dir: as for `pull`.
        download: whether the hub may be asked.
    """
    for name in weights_for(backbones):
        if find_weights(name, weights_dir) is not None:
            continue
        if not download:
            log.error("weights are missing", weights=name, error=missing_text(name, entry_of(name), weights_dir))
            continue
        log.info("bringing weights", weights=name, size=size_text(entry_of(name).bytes))
        try:
            folder = pull(name, weights_dir)
        except WeightsError as error:
            log.error("weights could not be brought; the worker goes on without them", weights=name, error=str(error))
        else:
            log.info("weights are here", weights=name, folder=str(folder))
