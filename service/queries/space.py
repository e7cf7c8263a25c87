"""Answer questions in space about a result that is a shape."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from alignment.sampling import within
from alignment.shape import Projected, Shape
from api_schemas.queries import (
    Coordinates,
    LiftRequest,
    LiftResponse,
    ProjectedPoints,
    ProjectRequest,
    ProjectResponse,
)
from service.artifacts.service import find_succeeded_job
from service.dependencies import Services
from service.problems import CAPABILITY_MISSING, ProblemError, json_pointer
from service.queries.frames import Frame, Frames, limit_answer
from service.queries.open_results import OpenResult


def lift(services: Services, job_id: str, request: LiftRequest) -> LiftResponse:
    """Tell which places of the shape points of an image show.

    Raises:
        ProblemError: no result, one that is no shape, or an unknown image.
    """
    result, shape = open_shape(services, job_id)
    source = Frames(result).get(request.image, "/image")
    points = source.to_native(np.array(request.points, dtype=np.float64), request.coords)
    lifted = shape.lift(points, source=source.index)
    return LiftResponse(
        points=[(x, y, z) if math.isfinite(x + y + z) else None for x, y, z in lifted.points.tolist()],
        confidence=lifted.confidence.tolist(),
    )


def project(services: Services, job_id: str, request: ProjectRequest) -> ProjectResponse:
    """Tell where images show places of the canonical frame.

    Raises:
        ProblemError: no result, one that is no shape, an unknown image, or too many points to answer.
    """
    result, shape = open_shape(services, job_id)
    targets = _targets(result, request.targets)
    limit_answer(len(request.points) * len(targets), services.settings.max_answer_points)
    points = np.array(request.points, dtype=np.float64)
    return ProjectResponse(
        coords=request.coords,
        targets=[_show(target, shape.project(points, target=target.index), request.coords) for target in targets],
    )


def open_shape(services: Services, job_id: str) -> tuple[OpenResult, Shape]:
    """Open the result of a job that is a shape.

    Raises:
        ProblemError: there is no result, or it is of another form.
    """
    result = services.open_results.get(find_succeeded_job(services, job_id))
    if not isinstance(result.form, Shape):
        manifest = result.manifest
        detail = (
            f"the result of {manifest.method.id} ({manifest.form.value}) is not a shape in space; `transfer` carries "
            "points from image to image, and a method whose form is `shape` answers this"
        )
        raise ProblemError(CAPABILITY_MISSING, detail)
    return result, result.form


def _targets(result: OpenResult, names: Sequence[str] | None) -> list[Frame]:
    frames = Frames(result)
    if names is None:
        return [frames.get(image.id, "/targets") for image in result.manifest.images]
    return [frames.get(name, json_pointer("targets", index)) for index, name in enumerate(names)]


def _show(target: Frame, found: Projected, coords: Coordinates) -> ProjectedPoints:
    places: npt.NDArray[np.float64] = target.from_native(found.points, coords)
    return ProjectedPoints(
        target=target.name,
        points=[(x, y) if math.isfinite(x + y) else None for x, y in places.tolist()],
        confidence=found.confidence.tolist(),
        visible=found.visible.tolist(),
        inside=within(found.points, target.size.extent).tolist(),
    )
