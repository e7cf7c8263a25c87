"""Addresses for operation."""

from fastapi import APIRouter, Response

from api_schemas.system import Entry, Liveness, ProblemDescription, Readiness, Version
from service.dependencies import ServicesDep
from service.openapi import problems
from service.problems import NOT_FOUND, NOT_READY
from service.system.service import check_readiness, describe_version, find_problem_kind

router = APIRouter(tags=["system"])

LINKS = {
    "docs": "/docs",
    "openapi": "/openapi.json",
    "methods": "/v1/methods",
    "images": "/v1/images",
    "image_sets": "/v1/image-sets",
    "jobs": "/v1/jobs",
    "ready": "/readyz",
    "version": "/version",
}


@router.get("/", name="get_entry", responses=problems())
def get_root() -> Entry:
    """Say what this is and where everything is."""
    return Entry(name="congeal", version=describe_version().congeal, links=LINKS)


@router.get("/livez", name="get_liveness", responses=problems())
async def get_livez() -> Liveness:
    """Answer as long as the process serves requests."""
    return Liveness()


@router.get("/readyz", name="get_readiness", responses=problems(NOT_READY))
def get_readyz(response: Response, services: ServicesDep) -> Readiness:
    """Check database, migrations and blob store."""
    response.headers["Cache-Control"] = "no-store"
    return check_readiness(services)


@router.get("/version", responses=problems())
def get_version() -> Version:
    """Return the versions of code, interface and interpreter."""
    return describe_version()


@router.get("/problems/{code}", responses=problems(NOT_FOUND))
def get_problem(code: str) -> ProblemDescription:
    """Describe a kind of problem; the `type` of every problem document leads here."""
    kind = find_problem_kind(code)
    return ProblemDescription(type=kind.type, title=kind.title, status=kind.status)
