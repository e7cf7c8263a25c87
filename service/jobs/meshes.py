"""Meshes that a submission's parameters name."""

from sqlalchemy.orm import Session

from api_schemas.methods.spec import MethodParams
from api_schemas.problems import FieldError
from service.identifiers import looks_like
from service.jobs.refusals import refuse_any
from service.meshes.service import MESH_ID
from service.problems import MESH_NOT_FOUND, json_pointer
from service.validation import shown
from storage.database.repositories.meshes import MeshRepository


def check_meshes(session: Session, params: MethodParams) -> None:
    """Refuse parameters that name a mesh that is not there.

    Raises:
        ProblemError: they do.
    """
    meshes = MeshRepository(session)
    errors = [
        FieldError(
            pointer=json_pointer("params", *use.path),
            code="not-found",
            detail=f"there is no mesh {shown(use.mesh_id)}; POST /v1/meshes uploads one, GET /v1/meshes lists them",
        )
        for use in params.meshes()
        if not looks_like(use.mesh_id, MESH_ID) or meshes.get(use.mesh_id) is None
    ]
    refuse_any(MESH_NOT_FOUND, errors)
