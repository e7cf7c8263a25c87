"""Where queries were found, in pixels of the uploads, and the document that tells it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
from pydantic import JsonValue
from torch import Tensor

from workers.methods.sd_correspondence.plan import Query
from workers.methods.sd_correspondence.readout import Found
from workers.methods.sd_correspondence.squares import Square

UNLEARNT = 0.95
"""Share of the loss of no attention above which an embedding has not learnt its point."""
_FIGURES = ("peak", "margin", "round_spread", "layer_spread")
_DIGITS = 5


@dataclass
class Matches:
    """All that was found."""

    queries: Sequence[Query]
    shares: Mapping[int, Sequence[float]]
    """Per query the last loss of each round as a share of that of no attention."""
    limits: Mapping[int, float]
    """Per image how far, in pixels of the upload, a query may be found from itself."""
    soft: bool = False
    """Whether the centroid of a peak counts as found."""
    there: dict[tuple[int, int], Found] = field(default_factory=dict)
    """By query and image, the query's own image among them."""
    back: dict[tuple[int, int], tuple[float, float, float]] = field(default_factory=dict)
    """By query and target, where the way back ends (x, y in pixels of the source), and its peak."""

    def confidence(self, query: int, peak: float) -> float:
        """How a peak compares with that of the query in its own image, in [0, 1].

        1 is as clear as there; 0 where there is no peak, and for queries that `is_doubtful` tells.
        """
        own = self.there.get((query, self.queries[query].image))
        reference = peak if own is None else own.peak
        if self.is_doubtful(query) or not reference > 0 or not math.isfinite(peak):
            return 0.0
        return min(1.0, peak / reference)

    def is_doubtful(self, query: int) -> bool:
        """Whether what was found of a query means little: nothing was learnt, or it is not found where it lies."""
        return not self.is_learnt(query) or self.is_astray(query)

    def is_learnt(self, query: int) -> bool:
        """Whether an embedding learnt to attend to the point."""
        return any(share <= UNLEARNT for share in self.shares[query])

    def is_astray(self, query: int) -> bool:
        """Whether the point is found too far from where it lies in its own image."""
        error = self.self_error(query)
        return error is not None and not error <= self.limits[self.queries[query].image]

    def self_error(self, query: int) -> float | None:
        """How far, in pixels of the upload, a query is found from itself; None where it was not looked for."""
        asked = self.queries[query]
        own = self.there.get((query, asked.image))
        return None if own is None else math.dist(own.place(soft=self.soft), (asked.x, asked.y))

    def warnings(self) -> list[str]:
        """What to tell the user of all queries."""
        doubtful = sum(map(self.is_doubtful, range(len(self.queries))))
        if not doubtful:
            return []
        return [
            f"{doubtful} of {len(self.queries)} points were not learnt, or are not found in their own image: do not "
            "trust where they were found (matches.json names them)"
        ]


def in_upload(found: Found, square: Square) -> Found:
    """Bring places from the square to pixels of the upload; rounded, so that a document read back says the same."""
    (x, y), (soft_x, soft_y) = square.outward(np.array([[found.x, found.y], [found.soft_x, found.soft_y]])).tolist()
    places = {"x": x, "y": y, "soft_x": soft_x, "soft_y": soft_y}
    figures = places | {name: getattr(found, name) for name in _FIGURES}
    return Found(**{name: round(value, _DIGITS) for name, value in figures.items()}, heat=found.heat)


def document(matches: Matches) -> list[JsonValue]:
    """Tell, per query, where it was found and what to doubt."""
    rows: list[JsonValue] = []
    for index, query in enumerate(matches.queries):
        error = matches.self_error(index)
        targets = [image for found, image in sorted(matches.there) if found == index and image != query.image]
        rows.append(
            {
                "query": index,
                "id": query.id,
                "image": query.image,
                "x": query.x,
                "y": query.y,
                "loss_shares": [_number(share) for share in matches.shares[index]],
                "own": None if error is None else _entry(matches, index, query.image),
                "self_error": None if error is None else _number(error),
                "problems": _problems(matches, index),
                "targets": [_entry(matches, index, image) for image in targets],
            }
        )
    return rows


def _problems(matches: Matches, query: int) -> list[JsonValue]:
    problems: list[JsonValue] = []
    if not matches.is_learnt(query):
        problems.append("no embedding learnt to attend to this point; what was found elsewhere means little")
    if matches.is_astray(query):
        problems.append("the point is not found where it lies in its own image; what was found elsewhere means little")
    lost = [image for of, image in sorted(matches.there) if of == query and math.isnan(matches.there[of, image].peak)]
    if lost:
        problems.append(
            f"attention to this point is not finite in images {', '.join(map(str, lost))}, so it was not found there; "
            "run the job with another seed, or with a smaller learning rate"
        )
    return problems


def _entry(matches: Matches, query: int, image: int) -> dict[str, JsonValue]:
    match = matches.there[query, image]
    x, y = match.place(soft=matches.soft)
    row: dict[str, JsonValue] = {"image": image, "x": _number(x), "y": _number(y)}
    row["confidence"] = _number(matches.confidence(query, match.peak))
    row |= {"argmax": _pair(match.x, match.y), "centroid": _pair(match.soft_x, match.soft_y)}
    row |= {name: _number(getattr(match, name)) for name in _FIGURES}
    if (query, image) in matches.back:
        back_x, back_y, peak = matches.back[query, image]
        source = matches.queries[query]
        row["back"] = {"x": _number(back_x), "y": _number(back_y), "peak": _number(peak)}
        row["cycle_error"] = _number(math.dist((back_x, back_y), (source.x, source.y)))
    return row


def shares_told(rows: Sequence[JsonValue]) -> dict[int, list[float]]:
    """Per query the shares of the loss that a document tells."""
    entries = [cast(dict[str, JsonValue], row) for row in rows]
    return {
        index: [_float(share) for share in cast(list[JsonValue], row["loss_shares"])]
        for index, row in enumerate(entries)
    }


def take_up(matches: Matches, rows: Sequence[JsonValue], heats: Mapping[int, Sequence[Tensor]]) -> None:
    """Take up what a document tells; heat maps lie apart, by image and query."""
    entries = [cast(dict[str, JsonValue], row) for row in rows]
    for index, row in enumerate(entries):
        for entry in cast(list[dict[str, JsonValue]], [row["own"], *cast(list[JsonValue], row["targets"])]):
            if entry is None:
                continue
            image = cast(int, entry["image"])
            (x, y), (soft_x, soft_y) = _place(entry["argmax"]), _place(entry["centroid"])
            figures = {name: _float(entry[name]) for name in _FIGURES}
            heat = heats[image][index]
            matches.there[index, image] = Found(x=x, y=y, soft_x=soft_x, soft_y=soft_y, **figures, heat=heat)
            if "back" in entry:
                back = cast(dict[str, JsonValue], entry["back"])
                matches.back[index, image] = (_float(back["x"]), _float(back["y"]), _float(back["peak"]))


def _place(pair: JsonValue) -> tuple[float, float]:
    x, y = cast(list[JsonValue], pair)
    return _float(x), _float(y)


def _pair(x: float, y: float) -> list[JsonValue]:
    return [_number(x), _number(y)]


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None


def _float(value: JsonValue) -> float:
    return math.nan if value is None else float(cast(float, value))
