"""What handlers need: the parts of the service, made once by `create_app`."""

import threading
from dataclasses import dataclass, field
from typing import Annotated

import anyio
from fastapi import Depends, Request

from service.queries.open_results import OpenResults
from service.settings import ServiceSettings
from service.wakeups import WakeUps
from storage.blobs.base import BlobStore
from storage.blobs.local import LocalBlobStore
from storage.database.session import Database


@dataclass(frozen=True)
class Services:
    """The parts that every feature works with."""

    settings: ServiceSettings
    database: Database
    blobs: BlobStore
    wake_ups: WakeUps
    open_results: OpenResults
    decoding: anyio.CapacityLimiter = field(repr=False)
    """Bounds how many threads decode images, and so the memory that takes; the others stay free for short work."""
    editing: anyio.CapacityLimiter = field(repr=False)
    """Bounds how many threads carry edits to images."""
    closing: threading.Event = field(repr=False)
    """Set when the process is about to end; requests that wait for news give up then."""
    storing: threading.Lock = field(repr=False)
    """Held while image content is stored, so that what a failing upload takes back is nobody else's."""


def make_services(settings: ServiceSettings) -> Services:
    """Connect the parts as the settings say; nothing is started yet."""
    blobs = LocalBlobStore(settings.blobs_dir)
    return Services(
        settings=settings,
        database=Database(settings.resolved_database_url),
        blobs=blobs,
        wake_ups=WakeUps(settings),
        open_results=OpenResults(blobs, capacity=settings.max_open_results),
        decoding=anyio.CapacityLimiter(settings.parallel_decodes),
        editing=anyio.CapacityLimiter(settings.parallel_edits),
        closing=threading.Event(),
        storing=threading.Lock(),
    )


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(_services)]
