"""The frames that questions name: the images of a job, and the atlas, which for a shape is its texture."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize
from api_schemas.problems import FieldError
from api_schemas.queries import Coordinates
from service.problems import CAPABILITY_MISSING, IMAGE_NOT_FOUND, VALIDATION_ERROR, ProblemError, ProblemKind
from service.queries.open_results import OpenResult

ATLAS: Final = "atlas"
ATLAS_SIZE: Final = ImageSize(1, 1)
Points = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """An image of the job, or the atlas, by the name that the client gave."""

    name: str
    index: int | None
    size: ImageSize

    def to_native(self, points: Points, coords: Coordinates) -> Points:
        """Convert given points to pixels, or canonical coordinates for the atlas."""
        return points * self.size.extent if coords == "normalized" else points

    def from_native(self, points: Points, coords: Coordinates) -> Points:
        """Convert back."""
        return points / self.size.extent if coords == "normalized" else points


class Frames:
    """Looks up frames of a result by name."""

    def __init__(self, result: OpenResult) -> None:
        self._result = result
        self._indices = {image.id: image.index for image in result.manifest.images}

    def __contains__(self, name: str) -> bool:
        """Tell whether the job has an image of that name."""
        return name in self._indices

    def get(self, name: str, pointer: str) -> Frame:
        """Return the frame of that name.

        Raises:
            ProblemError: the job has no such image, or its result no atlas.
        """
        if name == ATLAS:
            return self._atlas(pointer)
        if name not in self._indices:
            detail = f"image {name!r} is none of the job's {len(self._indices)} images"
            raise faulty(IMAGE_NOT_FOUND, pointer, "not-found", detail)
        index = self._indices[name]
        return Frame(name, index, self._result.form.images[index])

    def others(self, source: Frame) -> list[Frame]:
        """Return all images but the source."""
        names = [image.id for image in self._result.manifest.images if image.index != source.index]
        return [self.get(name, "/targets") for name in names]

    def require_map(self, source: Frame, target: Frame, pointer: str) -> None:
        """Refuse what needs a map at every place of the source where the result knows single points only.

        Raises:
            ProblemError: it does.
        """
        form = self._result.form
        if source.index is None or target.index is None or not isinstance(form, PairwiseMaps):
            return
        if form.is_points_only(source.index, target.index):
            detail = (
                f"from image {source.name} to image {target.name} the result holds points only, and this needs a "
                "dense map; ask `transfer` for the points, or submit again with a `grid` on the first of the two images"
            )
            raise faulty(CAPABILITY_MISSING, pointer, "points-only", detail)

    def _atlas(self, pointer: str) -> Frame:
        if isinstance(self._result.form, PairwiseMaps):
            manifest = self._result.manifest
            detail = f"the result of {manifest.method.id} ({manifest.form.value}) has no atlas; name an image"
            raise faulty(CAPABILITY_MISSING, pointer, "no-atlas", detail)
        return Frame(ATLAS, None, ATLAS_SIZE)


def faulty(kind: ProblemKind, pointer: str, code: str, detail: str) -> ProblemError:
    """Return the problem of one faulty field."""
    return ProblemError(kind, detail, errors=[FieldError(pointer=pointer, code=code, detail=detail)])


def limit_answer(count: int, limit: int) -> None:
    """Refuse a question with too many points x targets to answer.

    Raises:
        ProblemError: it has.
    """
    if count > limit:
        detail = f"points x targets is {count}, the limit is {limit}; ask for fewer points or targets at once"
        raise faulty(VALIDATION_ERROR, "/points", "too-many", detail)
