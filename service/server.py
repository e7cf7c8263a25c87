"""The HTTP server around the application."""

import socket

import uvicorn
from fastapi import FastAPI

from service.dependencies import Services

SHUTDOWN_GRACE_S = 5


class Server(uvicorn.Server):
    """A server that lets waiting requests go when it is told to end, instead of cutting them off."""

    def __init__(self, app: FastAPI, *, host: str = "127.0.0.1", port: int = 0) -> None:
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
        )
        super().__init__(config)
        self._services: Services = app.state.services

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End: long polls answer with what there is, event streams close and clients come back to another process."""
        self._services.closing.set()
        await super().shutdown(sockets)
