"""Answer questions about a result from its stored maps."""

import math
from collections.abc import Sequence

import numpy as np

from alignment.cycles import CycleReport, cycle_pck
from alignment.scores import AnnotatedImage, PckReport, pck
from alignment.transferred import Transferred
from api_schemas.problems import FieldError
from api_schemas.queries import (
    Coordinates,
    CyclePck,
    CyclePckRow,
    EvaluationRequest,
    EvaluationResponse,
    PckRow,
    TransferredPoints,
    TransferRequest,
    TransferResponse,
)
from service.artifacts.service import find_succeeded_job
from service.dependencies import Services
from service.problems import VALIDATION_ERROR, ProblemError, json_pointer
from service.queries.frames import Frame, Frames, faulty


def transfer(services: Services, job_id: str, request: TransferRequest) -> TransferResponse:
    """Carry points from one frame of a result to others.

    Raises:
        ProblemError: no result, an unknown image, no atlas, or too many points to answer.
    """
    result = services.open_results.get(find_succeeded_job(services, job_id))
    frames = Frames(result)
    source = frames.get(request.source, "/source")
    targets = _targets(frames, source, request)
    _limit_answer(len(request.points) * len(targets), services.settings.max_answer_points)
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
    result = services.open_results.get(find_succeeded_job(services, job_id))
    frames = Frames(result)
    for image_id in request.boxes or {}:
        frames.get(image_id, json_pointer("boxes", image_id))
    _require_equal_counts(request)
    annotated: dict[int, AnnotatedImage] = {}
    for image_id in request.keypoints:
        frame = frames.get(image_id, json_pointer("keypoints", image_id))
        if frame.index is not None:
            annotated[frame.index] = _annotation(request, frame)
    _require_images_for_cycles(request)
    around = [cycle_pck(result.form, annotated, request.alphas, length) for length in request.cycles]
    return _show_scores(pck(result.form, annotated, request.alphas), around)


def _targets(frames: Frames, source: Frame, request: TransferRequest) -> list[Frame]:
    if request.targets is None:
        return frames.others(source)
    return [frames.get(name, json_pointer("targets", index)) for index, name in enumerate(request.targets)]


def _limit_answer(count: int, limit: int) -> None:
    if count > limit:
        detail = f"points x targets is {count}, the limit is {limit}; ask for fewer points or targets at once"
        raise faulty(VALIDATION_ERROR, "/points", "too-many", detail)


def _show(target: Frame, carried: Transferred, coords: Coordinates) -> TransferredPoints:
    points = target.from_native(carried.points, coords)
    return TransferredPoints(
        target=target.name,
        points=[(x, y) if math.isfinite(x + y) else None for x, y in points.tolist()],
        confidence=carried.confidence.tolist(),
        inside=carried.inside.tolist(),
    )


def _require_equal_counts(request: EvaluationRequest) -> None:
    counts = {image_id: len(keypoints) for image_id, keypoints in request.keypoints.items()}
    expected = next(iter(counts.values()))
    errors = [
        FieldError(
            pointer=json_pointer("keypoints", image_id),
            code="wrong-count",
            detail=f"{count} keypoints where the first image has {expected}; mark those that are hidden as not visible",
        )
        for image_id, count in counts.items()
        if count != expected
    ]
    if errors:
        raise ProblemError(VALIDATION_ERROR, errors[0].detail, errors=errors)


def _require_images_for_cycles(request: EvaluationRequest) -> None:
    for index, length in enumerate(request.cycles):
        if length > len(request.keypoints):
            detail = f"cycles of {length} images need keypoints of as many; got those of {len(request.keypoints)}"
            raise faulty(VALIDATION_ERROR, json_pointer("cycles", index), "too-few-images", detail)


def _annotation(request: EvaluationRequest, frame: Frame) -> AnnotatedImage:
    keypoints = np.array(request.keypoints[frame.name], dtype=np.float64)
    if request.threshold == "image":
        return AnnotatedImage(keypoints, float(max(frame.size.width, frame.size.height)))
    return AnnotatedImage(keypoints, _box_side(request, frame.name))


def _box_side(request: EvaluationRequest, image_id: str) -> float:
    pointer = json_pointer("boxes", image_id)
    box: Sequence[float] | None = (request.boxes or {}).get(image_id)
    if box is None:
        detail = "threshold 'bbox' needs a box for every image with keypoints; give it, or take threshold 'image'"
        raise faulty(VALIDATION_ERROR, pointer, "missing", detail)
    width, height = box[2] - box[0], box[3] - box[1]
    if width <= 0 or height <= 0:
        detail = f"the box [x0, y0, x1, y1] must have x1 > x0 and y1 > y0; got {list(box)}"
        raise faulty(VALIDATION_ERROR, pointer, "empty-box", detail)
    return max(width, height)


def _show_scores(report: PckReport, around: Sequence[CycleReport]) -> EvaluationResponse:
    return EvaluationResponse(
        pairs=report.pairs,
        points=report.points,
        missing=report.missing,
        median_error_px=report.median_error_px,
        pck=[PckRow.model_validate(vars(score)) for score in report.scores],
        cycles=[_show_cycles(cycles) for cycles in around],
    )


def _show_cycles(report: CycleReport) -> CyclePck:
    rows = [CyclePckRow.model_validate(vars(score)) for score in report.scores]
    return CyclePck(length=report.length, cycles=report.cycles, points=report.points, pck=rows)
