"""Score the cameras of a result against cameras that the client knows."""

from typing import Final, cast

import numpy as np

from alignment.camera import OPENGL_TO_OPENCV, Camera
from alignment.pose_scores import PoseReport, Similarity, TooFewPosesError, pose_report
from api_schemas.pose_evaluations import (
    KnownCamera,
    PoseAccuracyRow,
    PoseErrorRow,
    PoseEvaluationRequest,
    PoseEvaluationResponse,
    PoseSimilarity,
    Row3,
)
from service.dependencies import Services
from service.problems import VALIDATION_ERROR, json_pointer
from service.queries.frames import Frames, faulty
from service.queries.space import open_shape

ANY_FOV_DEG: Final = 45.0
"""Of a camera whose field of view is not given: errors of poses do not depend on it."""


def evaluate_poses(services: Services, job_id: str, request: PoseEvaluationRequest) -> PoseEvaluationResponse:
    """Score the cameras of a result.

    Raises:
        ProblemError: no result, one that is no shape, an unknown image, or too few images with a found pose.
    """
    result, shape = open_shape(services, job_id)
    frames = Frames(result)
    names: dict[int, str] = {}
    for name in request.cameras:
        index = frames.get(name, json_pointer("cameras", name)).index
        if index is not None:
            names[index] = name
    truth = [_camera(request.cameras[names[index]]) if index in names else None for index in range(len(shape.cameras))]
    symmetries = None if request.symmetries is None else [np.array(each) for each in request.symmetries]
    try:
        report = pose_report(shape.cameras, truth, alignment=request.alignment, symmetries=symmetries)
    except TooFewPosesError as error:
        raise faulty(VALIDATION_ERROR, "/cameras", "too-few-poses", str(error)) from error
    return _show(report, request, names)


def _camera(known: KnownCamera) -> Camera:
    if known.camera_to_world is not None:
        to_world = np.array(known.camera_to_world, dtype=np.float64)
    else:
        to_world = np.linalg.inv(np.array(known.world_to_camera, dtype=np.float64)) @ OPENGL_TO_OPENCV
    return Camera(to_world, known.fov_deg or ANY_FOV_DEG)


def _show(report: PoseReport, request: PoseEvaluationRequest, names: dict[int, str]) -> PoseEvaluationResponse:
    return PoseEvaluationResponse(
        alignment=request.alignment,
        images=report.known,
        missing=report.missing,
        mean_rotation_deg=report.mean_rotation_deg,
        median_rotation_deg=report.median_rotation_deg,
        mean_translation=report.mean_translation,
        median_translation=report.median_translation,
        accuracy=[PoseAccuracyRow(within_deg=limit, share=share) for limit, share in report.accuracy.items()],
        errors=[
            PoseErrorRow(
                image=names[index], rotation_deg=report.rotation_deg[index], translation=report.translation[index]
            )
            for index in sorted(names)
        ],
        to_known=_similarity(report.to_truth),
    )


def _similarity(found: Similarity) -> PoseSimilarity:
    first, second, third = (cast(Row3, tuple(row)) for row in found.rotation.tolist())
    return PoseSimilarity(
        scale=found.scale,
        rotation=(first, second, third),
        translation=cast(Row3, tuple(found.translation.tolist())),
    )
