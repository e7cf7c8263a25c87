"""Serve the API: `python -m service`."""

import resource
import sys

from api_schemas.weights import weights_catalogue
from service.app import create_app
from service.log_setup import configure_logging
from service.server import Server
from service.settings import ServiceSettings

STARTUP_FAILED = 3


def main() -> None:
    """Serve until a signal ends the process."""
    try:
        settings = ServiceSettings()
        weights_catalogue()
    except ValueError as error:
        sys.exit(f"the settings do not fit: {error}")
    configure_logging(settings)
    _raise_open_file_limit()
    server = Server(create_app(settings), host=settings.host, port=settings.port)
    server.run()
    if not server.started:
        raise SystemExit(STARTUP_FAILED)


def _raise_open_file_limit() -> None:
    """Allow as many open files as the system grants: every memory-mapped tensor of an open result is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
