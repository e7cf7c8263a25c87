"""Small annotated pictures of the drawn creature on plain ground, as drawn, mirrored and turned."""

import numpy as np
import numpy.typing as npt

from alignment.pairwise import PairwiseMaps
from api_schemas.keypoints.schema import KeypointSchema
from tests.workers.methods.drawn import creatures
from workers.methods.base import Annotation, InputImage, MethodResult, Split

SIDE = 256
NAMES = list(creatures().template.keypoints)
FEET = (NAMES.index("front_foot"), NAMES.index("hind_foot"))
HIPS = (NAMES.index("front_hip"), NAMES.index("hind_hip"))
SCHEMA = KeypointSchema(names=NAMES, mirror_pairs=[FEET, HIPS], groups=[list(FEET), list(HIPS)])
"""As if the creature's legs were its left and its right ones."""

Pixels = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]


def picture(index: int) -> Pixels:
    """The creature in one of its eight poses, (256, 256, 3)."""
    drawn = creatures()
    rgb = drawn.images[index] * drawn.image_masks[index] + 0.5 * (1 - drawn.image_masks[index])
    pixels: Pixels = (rgb.transpose(1, 2, 0) * 255).round().astype(np.uint8)
    return pixels


def keypoints(index: int) -> Points:
    """Pixels (12, 2) of its keypoints."""
    return creatures().keypoints[index].astype(np.float64)


def mirrored(points: Points) -> Points:
    """Where points of a picture lie in its mirror image."""
    return np.array([SIDE, 0.0]) + points * [-1, 1]


def turned(points: Points) -> Points:
    """Where points lie after a quarter turn counter-clockwise."""
    return np.stack([points[..., 1], SIDE - points[..., 0]], axis=-1)


def known(
    points: Points | None = None,
    *,
    hidden: tuple[int, ...] = (),
    category: str = "creature",
    pose: str | None = None,
    split: Split | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Annotation:
    """Keypoints (12, 2), or none."""
    if points is None:
        return Annotation("", None, np.zeros((0, 3)), pose=pose, split=split)
    visible = np.array([[index not in hidden] for index in range(len(points))])
    placed = np.concatenate([points * visible, visible], axis=1)
    return Annotation(category, SCHEMA, placed, box=box, pose=pose, split=split)


def as_input(number: int, rgb: Pixels, annotation: Annotation | None = None) -> InputImage:
    """A picture of the set."""
    return InputImage(f"{number}.png", rgb, annotation=annotation)


def maps_of(result: MethodResult) -> PairwiseMaps:
    """The form of a result."""
    assert isinstance(result.form, PairwiseMaps)
    return result.form


def carried(result: MethodResult, points: Points, source: int, target: int) -> Points:
    """Where the maps of a result carry points (P, 2)."""
    return maps_of(result).transfer(points, source=source, target=target).points


def distances(first: Points, second: Points) -> Points:
    """In pixels."""
    found: Points = np.linalg.norm(first - second, axis=-1)
    return found
