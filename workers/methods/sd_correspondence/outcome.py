"""From what was found to a method's result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor

from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize
from workers.methods.base import MethodResult
from workers.methods.sd_correspondence.dense import dense_maps
from workers.methods.sd_correspondence.matches import Matches, document
from workers.methods.sd_correspondence.readout import HEAT_CELLS, Found
from workers.methods.sd_correspondence.sheets import heat_sheets, points_pictures
from workers.methods.sd_correspondence.work import Work


def outcome(
    work: Work, matches: Matches, embeddings: npt.NDArray[np.float32], losses: npt.NDArray[np.float32]
) -> MethodResult:
    """Put a result together.

    Args:
        work: the job.
        matches: what was found.
        embeddings: (E, R, 77, D) of all groups.
        losses: (E, R, steps).
    """
    images = work.images
    return MethodResult(
        form=_form(work, matches),
        backbone=work.params.model,
        backbone_identity=work.search.pictures.reader.identity,
        scores=[_scores(matches, index) for index in range(len(images))],
        warnings=matches.warnings(),
        pictures=heat_sheets(work, matches),
        tensors={"embeddings": embeddings, "loss_curves": losses},
        documents={
            "matches": document(matches),
            "embeddings_info": work.info,
        },
        image_pictures={"points": points_pictures(work, matches)},
        image_tensors={"heat_maps": [_heats(matches, index) for index in range(len(images))]},
    )


def _form(work: Work, matches: Matches) -> PairwiseMaps:
    sizes = tuple(ImageSize(image.width, image.height) for image in work.images)
    rows: dict[tuple[int, int], list[list[float]]] = {}
    for (index, target), match in sorted(matches.there.items()):
        query = matches.queries[index]
        if target == query.image:
            continue
        x, y = match.place(soft=matches.soft)
        rows.setdefault((query.image, target), []).append(
            [query.x, query.y, x, y, matches.confidence(index, match.peak)]
        )
        if (index, target) in matches.back:
            back_x, back_y, peak = matches.back[index, target]
            way_back = [x, y, back_x, back_y, matches.confidence(index, peak)]
            rows.setdefault((target, query.image), []).append(way_back)
    points = {pair: np.array(found, dtype=np.float32) for pair, found in rows.items()}
    grid = work.params.grid
    maps, confidence = ({}, {}) if grid is None else dense_maps(points, grid.image, grid.side, sizes)
    return PairwiseMaps(images=sizes, maps=maps, confidence=confidence, points=points)


def _scores(matches: Matches, image: int) -> dict[str, JsonValue]:
    """How clearly points of others are found in an image."""
    found = [match for (query, target), match in matches.there.items() if _is_target(matches, query, target, image)]
    if not found:
        return {"mean_peak": None, "mean_margin": None}
    return {"mean_peak": _mean(found, "peak"), "mean_margin": _mean(found, "margin")}


def _is_target(matches: Matches, query: int, target: int, image: int) -> bool:
    return target == image and matches.queries[query].image != image


def _mean(found: Sequence[Found], name: str) -> float | None:
    value = float(np.mean([getattr(match, name) for match in found]))
    return value if np.isfinite(value) else None


def _heats(matches: Matches, image: int) -> npt.NDArray[np.float32]:
    """Heat maps (Q, 64, 64) of all queries; NaN where none was made."""
    nothing = torch.full((HEAT_CELLS, HEAT_CELLS), torch.nan)
    heats: list[Tensor] = [
        match.heat if (match := matches.there.get((query, image))) else nothing for query in range(len(matches.queries))
    ]
    return torch.stack(heats).float().numpy()
