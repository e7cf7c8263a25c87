"""The API as one application object."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from service.artifacts.endpoints import router as artifacts
from service.dependencies import Services, make_services
from service.edits.endpoints import router as edits
from service.image_sets.endpoints import router as image_sets
from service.images.decoding import refuse_bombs
from service.images.endpoints import router as images
from service.jobs.endpoints import router as jobs
from service.meshes.endpoints import router as meshes
from service.methods.endpoints import router as methods
from service.middleware import BodyLimitMiddleware, RequestContextMiddleware
from service.openapi import add_openapi, operation_id
from service.problem_handlers import add_problem_handlers
from service.queries.endpoints import router as queries
from service.settings import ServiceSettings
from service.system.endpoints import router as system
from service.uploads import remove_abandoned

DESCRIPTION = """\
Aligns sets of images: upload pictures of one kind of thing, run a method, get back how they correspond.

Every refusal is a problem document (RFC 9457) that says what is wrong, where, and how to mend it.
Image coordinates are (x, y) in pixels of the upload after EXIF orientation, continuous: pixel centres lie at +0.5.
"""
TAGS = [
    {"name": "methods", "description": "What can be run, and with which parameters."},
    {"name": "images", "description": "Upload pictures and look at them."},
    {"name": "image sets", "description": "Images with an order, to be aligned together."},
    {"name": "meshes", "description": "Upload shapes for methods that take one."},
    {"name": "jobs", "description": "Runs of a method on an image set: submit, follow, cancel."},
    {"name": "artifacts", "description": "The files that a succeeded job has made."},
    {"name": "queries", "description": "Questions to a succeeded job, answered from its maps."},
    {"name": "edits", "description": "Paint once, and see it on all images of a succeeded job."},
    {"name": "system", "description": "Operation of the service."},
]


def create_app(settings: ServiceSettings | None = None) -> FastAPI:
    """Build the API; connections are made when it starts."""
    settings = settings or ServiceSettings()
    refuse_bombs()
    app = FastAPI(
        title="Congeal",
        version=version("congeal"),
        description=DESCRIPTION,
        openapi_tags=TAGS,
        lifespan=_lifespan,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
    )
    app.state.services = make_services(settings)
    for router in (methods, images, image_sets, meshes, jobs, artifacts, queries, edits, system):
        app.include_router(router)
    # The last one added is the outermost.
    app.add_middleware(BodyLimitMiddleware, settings=settings)
    app.add_middleware(RequestContextMiddleware)
    add_problem_handlers(app)
    add_openapi(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    await run_in_threadpool(_start, services)
    try:
        yield
    finally:
        await run_in_threadpool(_stop, services)


def _start(services: Services) -> None:
    if services.settings.migrate_on_start:
        services.database.migrate()
    remove_abandoned(services.settings.uploads_dir)
    services.wake_ups.start()


def _stop(services: Services) -> None:
    services.wake_ups.stop()
    services.open_results.close()
    services.database.dispose()
