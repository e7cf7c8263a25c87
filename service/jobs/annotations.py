"""Annotations that come with a submission: whether they are wanted, and whether they fit the images."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from api_schemas.annotations.model import Annotations, ImageAnnotation
from api_schemas.annotations.resolution import resolved
from api_schemas.methods.spec import MethodParams, MethodSpec
from api_schemas.problems import FieldError
from service.jobs.refusals import refusal, refuse_any
from service.problems import ANNOTATIONS_MISMATCH, json_pointer
from service.validation import shown
from storage.database.records import ImageRecord

ANNOTATIONS = "annotations"
SLACK_PX = 1.0
"""How far outside a box may reach: some tools count its last pixel, some the edge after it."""


def complete_annotations(
    spec: MethodSpec, params: MethodParams, given: Annotations | None, *, extends: bool
) -> Annotations | None:
    """Fill in what annotations leave open, and check what can be checked without the images.

    Raises:
        ProblemError: they are given and not taken, or needed and not given; or they do not fit the parameters.
    """
    if given is not None and (spec.annotations == "none" or extends):
        why = f"{spec.id} takes no annotations" if spec.annotations == "none" else "an extension takes no annotations"
        raise _refused(f"{why}; leave them out")
    if given is None and spec.annotations == "required":
        raise _refused(f"{spec.id} learns from annotations: give the images' keypoints in `annotations`")
    try:
        complete = None if given is None else resolved(given)
    except ValueError as error:
        raise _refused(str(error)) from error
    misfits = [
        FieldError(pointer=json_pointer(ANNOTATIONS, *misfit.path), code="unfit-for-method", detail=misfit.detail)
        for misfit in params.annotation_misfits(complete)
    ]
    refuse_any(ANNOTATIONS_MISMATCH, misfits)
    return complete


def placed_annotations(annotations: Annotations, images: Sequence[ImageRecord]) -> Annotations:
    """Return the annotations by the ids of the images.

    Raises:
        ProblemError: an entry names no image, or several; an image has two; or a place lies outside its image.
    """
    by_entry = _images_by_entry(images)
    refuse_any(ANNOTATIONS_MISMATCH, list(_misplaced(annotations, by_entry)))
    found = {name: by_entry[name][0] for name in annotations.images}
    refuse_any(ANNOTATIONS_MISMATCH, list(_doubled(found)))
    outside = [fault for name, entry in annotations.images.items() for fault in _outside(name, entry, found[name])]
    refuse_any(ANNOTATIONS_MISMATCH, outside)
    by_id = {found[name].id: entry for name, entry in annotations.images.items()}
    return annotations.model_copy(update={"images": by_id})


def _images_by_entry(images: Sequence[ImageRecord]) -> dict[str, list[ImageRecord]]:
    """Of every id and every name the images that it can mean."""
    by_entry: dict[str, list[ImageRecord]] = {}
    for image in images:
        for entry in {image.id, image.name}:
            by_entry.setdefault(entry, []).append(image)
    return by_entry


def _misplaced(annotations: Annotations, by_entry: Mapping[str, Sequence[ImageRecord]]) -> Iterator[FieldError]:
    for name in annotations.images:
        images = by_entry.get(name, [])
        if not images:
            yield _fault(name, "unknown-image", f"no image of the job has the id or the name {shown(name)}")
        elif len(images) > 1:
            ids = ", ".join(image.id for image in images)
            yield _fault(name, "ambiguous", f"{len(images)} images are called {shown(name)}; say which by id: {ids}")


def _doubled(found: Mapping[str, ImageRecord]) -> Iterator[FieldError]:
    counts = Counter(image.id for image in found.values())
    for name, image in found.items():
        if counts[image.id] > 1 and name != image.id:
            yield _fault(name, "repeated-image", f"{image.id} is annotated by its id and by its name; once is enough")


def _outside(name: str, entry: ImageAnnotation, image: ImageRecord) -> Iterator[FieldError]:
    size = f"the image is {image.width} x {image.height} pixels"
    for index in entry.visible:
        x, y, _ = entry.keypoints[index]
        if not (0 <= x <= image.width and 0 <= y <= image.height):
            detail = f"keypoint {index} lies at ({x:g}, {y:g}), {size}; mark it as not visible if it is not seen"
            yield _fault(name, "outside", detail, "keypoints", index)
    if entry.box is not None:
        x0, y0, x1, y1 = entry.box
        if x1 <= x0 or y1 <= y0:
            yield _fault(
                name, "empty-box", f"the box [x0, y0, x1, y1] needs x1 > x0 and y1 > y0; got {entry.box}", "box"
            )
        elif min(x0, y0) < -SLACK_PX or x1 > image.width + SLACK_PX or y1 > image.height + SLACK_PX:
            yield _fault(name, "outside", f"the box {entry.box} reaches outside, {size}; cut it off there", "box")


def _fault(name: str, code: str, detail: str, *path: str | int) -> FieldError:
    return FieldError(pointer=json_pointer(ANNOTATIONS, "images", name, *path), code=code, detail=detail)


def _refused(detail: str) -> Exception:
    return refusal(ANNOTATIONS_MISMATCH, detail, pointer=json_pointer(ANNOTATIONS))
