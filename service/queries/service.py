"""Answer questions about a result from its stored maps."""

import math

import numpy as np

from alignment.transferred import Transferred
from api_schemas.queries import (
    Coordinates,
    EvaluationRequest,
    EvaluationResponse,
    TransferredPoints,
    TransferRequest,
    TransferResponse,
)
from service.artifacts.service import find_succeeded_job
from service.dependencies import Services
from service.problems import json_pointer
from service.queries.evaluation import scored
from service.queries.frames import Frame, Frames, limit_answer


def transfer(services: Services, job_id: str, request: TransferRequest) -> TransferResponse:
    """Carry points from one frame of a result to others.

    Raises:
        ProblemError: no result, an unknown image, no atlas, or too many points to answer.
    """
    result = services.open_results.get(find_succeeded_job(services, job_id))
    frames = Frames(result)
    source = frames.get(request.source, "/source")
    targets = _targets(frames, source, request)
    limit_answer(len(request.points) * len(targets), services.settings.max_answer_points)
    points = source.to_native(np.array(request.points, dtype=np.float64), request.coords)
    return TransferResponse(
        coords=request.coords,
        targets=[
            _show(target, result.form.transfer(points, source=source.index, target=target.index), request.coords)
            for target in targets
        ],
    )


def evaluate(services: Services, job_id: str, request: EvaluationRequest) -> EvaluationResponse:
    """Score a result against known keypoints.

    Raises:
        ProblemError: no result, an unknown image, or annotations that do not fit each other.
    """
    return scored(services.open_results.get(find_succeeded_job(services, job_id)), request)


def _targets(frames: Frames, source: Frame, request: TransferRequest) -> list[Frame]:
    if request.targets is None:
        return frames.others(source)
    return [frames.get(name, json_pointer("targets", index)) for index, name in enumerate(request.targets)]


def _show(target: Frame, carried: Transferred, coords: Coordinates) -> TransferredPoints:
    points = target.from_native(carried.points, coords)
    return TransferredPoints(
        target=target.name,
        points=[(x, y) if math.isfinite(x + y) else None for x, y in points.tolist()],
        confidence=carried.confidence.tolist(),
        inside=carried.inside.tolist(),
    )
