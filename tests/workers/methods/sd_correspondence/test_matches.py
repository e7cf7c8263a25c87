import math
from typing import Any

import pytest
import torch

from workers.methods.sd_correspondence.matches import Matches, document, in_upload, shares_told, take_up
from workers.methods.sd_correspondence.plan import Query
from workers.methods.sd_correspondence.readout import Found, located
from workers.methods.sd_correspondence.squares import padded

QUERIES = [Query(0, 10.0, 20.0, "nose"), Query(1, 30.0, 40.0)]
LIMITS = {0: 5.0, 1: 5.0}


def match(x: float, y: float, *, peak: float = 0.2) -> Found:
    figures = {"margin": 1.5, "round_spread": 2.0, "layer_spread": 3.0}
    return Found(x=x, y=y, soft_x=x + 1, soft_y=y + 2, peak=peak, **figures, heat=torch.full((64, 64), peak))


def matches(*, shares: tuple[float, float] = (0.5, 0.4), soft: bool = False) -> Matches:
    """Two queries, each in its own image and in the other."""
    told = Matches(QUERIES, {0: list(shares), 1: list(shares)}, LIMITS, soft=soft)
    told.there = {
        (0, 0): match(11, 20, peak=0.4), (0, 1): match(50, 60),
        (1, 1): match(30, 41, peak=0.1), (1, 0): match(70, 80),
    }  # fmt: skip
    told.back = {(0, 1): (13.0, 24.0, 0.3)}
    return told


def told(of: Matches) -> list[dict[str, Any]]:
    rows: Any = document(of)
    return list(rows)


def nowhere() -> Found:
    found = located(torch.full((1, 1, 64, 64), torch.nan), torch.ones(64, 64, dtype=torch.bool), sigma=3, fusion="mean")
    return in_upload(found, padded(200, 100, 64))


def test_a_row_tells_where_a_query_was_found_and_how_surely() -> None:
    first, second = told(matches())
    assert (first["query"], first["id"], first["image"], first["x"], first["y"]) == (0, "nose", 0, 10, 20)
    assert second["id"] is None
    (target,) = first["targets"]
    assert (target["image"], target["x"], target["y"]) == (1, 50, 60)
    assert (target["argmax"], target["centroid"]) == ([50, 60], [51, 62])
    assert (target["peak"], target["margin"]) == (0.2, 1.5)
    assert target["confidence"] == 0.5
    assert second["targets"][0]["confidence"] == 1
    assert target["cycle_error"] == 5
    assert "cycle_error" not in second["targets"][0]
    assert (first["self_error"], second["self_error"]) == (1, 1)
    assert first["problems"] == second["problems"] == []


def test_the_centroid_can_be_what_is_found() -> None:
    (target,) = told(matches(soft=True))[0]["targets"]
    assert (target["x"], target["y"]) == (51, 62)


def test_what_was_not_learnt_or_not_found_in_its_own_image_is_told() -> None:
    assert told(matches(shares=(0.96, 0.2)))[0]["problems"] == []
    for shares in ((0.96, 0.99), (math.inf, math.nan)):
        (problem,) = told(matches(shares=shares))[0]["problems"]
        assert "no embedding learnt" in problem
    astray = matches()
    astray.there[0, 0] = match(10, 26)
    (problem,) = told(astray)[0]["problems"]
    assert "not found where it lies in its own image" in problem
    assert told(astray)[0]["targets"][0]["confidence"] == 0


def test_doubtful_queries_are_counted_in_a_warning() -> None:
    assert matches().warnings() == []
    (warning,) = matches(shares=(0.96, 0.99)).warnings()
    assert warning.startswith("2 of 2 points")


def test_attention_that_is_not_finite_is_told_without_a_place() -> None:
    lost = matches()
    lost.there[0, 1] = nowhere()
    first, second = told(lost)
    (target,) = first["targets"]
    assert (target["x"], target["y"], target["peak"]) == (None, None, None)
    assert (target["argmax"], target["centroid"]) == ([None, None], [None, None])
    assert target["confidence"] == 0
    (problem,) = first["problems"]
    assert "not finite in images 1," in problem
    assert second["problems"] == []


def test_a_query_that_is_lost_in_its_own_image_has_no_confidence_anywhere() -> None:
    lost = matches()
    lost.there[0, 0] = nowhere()
    first = told(lost)[0]
    assert first["targets"][0]["confidence"] == 0
    assert len(first["problems"]) == 2
    assert first["self_error"] is None


@pytest.mark.parametrize("soft", [False, True])
def test_a_document_can_be_read_back(*, soft: bool) -> None:
    before, after = matches(soft=soft), Matches(QUERIES, shares_told(told(matches())), LIMITS, soft=soft)
    before.there[1, 0] = nowhere()
    heats = {image: [before.there[query, image].heat for query in range(2)] for image in range(2)}
    take_up(after, document(before), heats)
    assert document(after) == document(before)
    assert after.there[0, 1] == before.there[0, 1]
    assert after.back == before.back


def test_places_come_back_to_pixels_of_the_upload() -> None:
    square = padded(200, 100, 64)
    figures = {"peak": 0.2, "margin": 1.0, "round_spread": 0.0, "layer_spread": 0.0}
    found = Found(x=32, y=32, soft_x=16, soft_y=16, **figures, heat=torch.zeros(64, 64))
    there = in_upload(found, square)
    assert (there.x, there.y) == (100, 50)
    assert (there.soft_x, there.soft_y) == (50, 0)
