"""Maps from frame to frame, computed when they are asked for."""

import json

from safetensors.numpy import save

from alignment.dense import map_between
from service.artifacts.service import find_succeeded_job
from service.dependencies import Services
from service.problems import NOT_FOUND, ProblemError
from service.queries.frames import ATLAS, Frame, Frames

METADATA = "congeal"


def pair_map(services: Services, job_id: str, source: str, target: str, max_side: int | None) -> bytes:
    """Return a safetensors file with the tensors `map` and `confidence`; the same question has the same bytes.

    Args:
        services: the parts of the service.
        job_id: of a succeeded job.
        source: image id, or `atlas`: where the map starts.
        target: where it arrives.
        max_side: cells along the longer side of the source; None for the grid on which the maps are stored.

    Raises:
        ProblemError: no result, no such image, no atlas, or no map but points.
    """
    result = services.open_results.get(find_succeeded_job(services, job_id))
    frames = Frames(result)
    start, goal = _find(frames, source, "source"), _find(frames, target, "target")
    frames.require_map(start, goal, "target")
    shape = None if max_side is None else _cells(start, max_side)
    found = map_between(result.form, source=start.index, target=goal.index, shape=shape)
    about = {
        "source": start.name,
        "target": goal.name,
        "frame": "canonical" if goal.index is None else "image_pixels",
        "extent": [goal.size.width, goal.size.height],
    }
    # One entry: the order of several is not kept, and with it the bytes would change.
    metadata = {METADATA: json.dumps(about, sort_keys=True)}
    return save({"map": found.places, "confidence": found.confidence}, metadata=metadata)


def _find(frames: Frames, name: str, parameter: str) -> Frame:
    if name != ATLAS and name not in frames:
        raise ProblemError(NOT_FOUND, f"the job has no image {name[:64]!r}; name one of its images, or {ATLAS!r}")
    return frames.get(name, parameter)


def _cells(frame: Frame, max_side: int) -> tuple[int, int]:
    """Return rows and columns of square cells with `max_side` of them along the longer side."""
    scale = max_side / max(frame.size.width, frame.size.height)
    return max(1, round(frame.size.height * scale)), max(1, round(frame.size.width * scale))
