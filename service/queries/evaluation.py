"""Score a result against keypoints that the client knows."""

from collections.abc import Mapping, Sequence

import numpy as np

from alignment.azimuth import azimuth_gap
from alignment.cycles import CycleReport, cycle_pck
from alignment.geometry_aware import geometry_aware
from alignment.keypoint_report import AzimuthScores, KeypointReport, PointScores, ScoredPair, keypoint_report
from alignment.scores import AnnotatedImage, CarriedPair, SideScore, carried_pairs, pck_of, side_scores
from api_schemas.keypoints.inference import completed
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.keypoints.tables import named_schema
from api_schemas.problems import FieldError
from api_schemas.queries import (
    AzimuthRow,
    CyclePck,
    CyclePckRow,
    EvaluationRequest,
    EvaluationResponse,
    GeometryAwarePck,
    GeometryAwareRow,
    MirroredRow,
    PckRow,
)
from service.problems import VALIDATION_ERROR, ProblemError, json_pointer
from service.queries.frames import Frame, Frames, faulty
from service.queries.open_results import OpenResult


def scored(result: OpenResult, request: EvaluationRequest) -> EvaluationResponse:
    """Score a result; a point exactly at alpha counts as right.

    Raises:
        ProblemError: an unknown image, or annotations that do not fit each other.
    """
    frames = Frames(result)
    annotated = _annotated(frames, request)
    _require_images_for_cycles(request)
    schema = _keypoint_schema(request)
    azimuths = _azimuths(frames, request)
    pairs = carried_pairs(result.form, annotated)
    report = pck_of(pairs, request.alphas)
    detailed = _detailed(pairs, annotated, schema, azimuths, request.alphas)
    mirrored = _mirrored(pairs, annotated, schema, request.alphas)
    around = [cycle_pck(result.form, annotated, request.alphas, length) for length in request.cycles]
    return EvaluationResponse(
        pairs=report.pairs,
        points=report.points,
        missing=report.missing,
        median_error_px=report.median_error_px,
        pck=[PckRow.model_validate(vars(score)) for score in report.scores],
        cycles=[_show_cycles(cycles) for cycles in around],
        geometry_aware=_show_aware(detailed.geometry_aware) if schema and schema.groups else None,
        mirrored=_show_mirrored(mirrored) if mirrored else None,
        azimuth_bins=_show_bins(detailed.azimuth) if detailed.azimuth else None,
    )


def _annotated(frames: Frames, request: EvaluationRequest) -> dict[int, AnnotatedImage]:
    """Return the known keypoints by index of the image."""
    for image_id in request.boxes or {}:
        frames.get(image_id, json_pointer("boxes", image_id))
    _require_equal_counts(request)
    annotated: dict[int, AnnotatedImage] = {}
    for image_id in request.keypoints:
        frame = frames.get(image_id, json_pointer("keypoints", image_id))
        if frame.index is not None:
            annotated[frame.index] = _annotation(request, frame)
    return annotated


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


def _keypoint_schema(request: EvaluationRequest) -> KeypointSchema | None:
    given, pointer = request.keypoint_schema, json_pointer("keypoint_schema")
    if given is None:
        return None
    if isinstance(given, str):
        try:
            given = named_schema(given)
        except ValueError as error:
            raise faulty(VALIDATION_ERROR, pointer, "unknown-table", str(error)) from error
    count = len(next(iter(request.keypoints.values())))
    if len(given.names) != count:
        detail = f"the schema names {len(given.names)} keypoints where images have {count}; mark hidden ones as such"
        raise faulty(VALIDATION_ERROR, pointer, "wrong-count", detail)
    return completed(given)


def _azimuths(frames: Frames, request: EvaluationRequest) -> dict[int, int]:
    """Return the side from which the object is seen by index of the image; empty where none is given."""
    if request.azimuths is None:
        return {}
    found = {
        frames.get(image_id, json_pointer("azimuths", image_id)).index: azimuth
        for image_id, azimuth in request.azimuths.items()
    }
    errors = [
        FieldError(
            pointer=json_pointer("azimuths", image_id),
            code="missing",
            detail=f"image {image_id} has keypoints but no azimuth; give it, or leave out all azimuths",
        )
        for image_id in request.keypoints
        if image_id not in request.azimuths
    ]
    if errors:
        raise ProblemError(VALIDATION_ERROR, errors[0].detail, errors=errors)
    return {index: azimuth for index, azimuth in found.items() if index is not None}


def _detailed(
    pairs: Sequence[CarriedPair],
    annotated: Mapping[int, AnnotatedImage],
    schema: KeypointSchema | None,
    azimuths: Mapping[int, int],
    alphas: Sequence[float],
) -> KeypointReport:
    """Report on the same points as the plain scores, by the same limit."""
    groups = (schema.groups if schema else None) or []
    return keypoint_report(
        [
            ScoredPair(
                pair.errors,
                geometry_aware(annotated[pair.source].visible, annotated[pair.target].visible, groups)[pair.keypoints],
                azimuth_gap=azimuth_gap(azimuths[pair.source], azimuths[pair.target]) if azimuths else None,
            )
            for pair in pairs
        ],
        alphas,
        inclusive=True,
    )


def _mirrored(
    pairs: Sequence[CarriedPair],
    annotated: Mapping[int, AnnotatedImage],
    schema: KeypointSchema | None,
    alphas: Sequence[float],
) -> Sequence[SideScore]:
    permutation = schema.permutation if schema else None
    return side_scores(pairs, annotated, permutation, alphas) if permutation else ()


def _show_aware(found: PointScores) -> GeometryAwarePck:
    rows = [
        GeometryAwareRow(alpha=score.alpha, per_point=score.per_point or 0.0, per_pair=score.per_image or 0.0)
        for score in found.scores
    ]
    return GeometryAwarePck(pairs=found.pairs, points=found.points, pck=rows)


def _show_mirrored(scores: Sequence[SideScore]) -> list[MirroredRow]:
    return [MirroredRow(alpha=score.alpha, per_point=score.mirrored, own=score.own) for score in scores]


def _show_bins(found: AzimuthScores) -> list[AzimuthRow]:
    shares = [[share for share in each.per_point if share is not None] for each in found.bins]
    return [
        AzimuthRow(gap=each.gap, pairs=each.pairs, points=each.points, per_point=row or None)
        for each, row in zip(found.bins, shares, strict=True)
    ]


def _show_cycles(report: CycleReport) -> CyclePck:
    rows = [CyclePckRow.model_validate(vars(score)) for score in report.scores]
    return CyclePck(length=report.length, cycles=report.cycles, points=report.points, pck=rows)
