"""Addresses of methods."""

from fastapi import APIRouter

from api_schemas.methods.spec import MethodDetail, MethodList
from service.dependencies import ServicesDep
from service.methods.service import describe_method, list_methods
from service.openapi import problems
from service.problems import NOT_FOUND

router = APIRouter(prefix="/v1/methods", tags=["methods"])


@router.get("", name="list_methods", responses=problems())
def get_methods(services: ServicesDep) -> MethodList:
    """List the methods of this installation."""
    return list_methods(services)


@router.get("/{method_id}", responses=problems(NOT_FOUND))
def get_method(method_id: str, services: ServicesDep) -> MethodDetail:
    """Describe a method, with the JSON Schema of its parameters and a request to start from."""
    return describe_method(services, method_id)
