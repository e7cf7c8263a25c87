"""Adding pictures to a finished canonical plane."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from alignment.atlas import Atlas
from alignment.scores import pck
from api_schemas.methods.asic import AsicParams
from tests.workers.methods.masked import annotated, masked_pictures
from workers.backbones.registry import BackboneProvider
from workers.methods.asic.pipeline import Asic
from workers.methods.base import BaseResult, MethodResult
from workers.run_context import Run

OLD, NEW, MIRRORED = (0, 6), (1, 2, 4), (2,)
ALL = (*OLD, *NEW)
PARAMS = AsicParams(backbone="embedded", working_size=128, atlas_size=64, num_parts=2)


@cache
def finished() -> BaseResult:
    result = Asic(BackboneProvider()).run(masked_pictures(OLD), PARAMS, Run.local())
    return BaseResult(form=result.form, tensors=result.tensors, scores=result.scores)


@cache
def extended() -> MethodResult:
    images = masked_pictures(ALL, mirrored=MIRRORED)
    return Asic(BackboneProvider()).extend(finished(), images, PARAMS, Run.local())


def test_what_the_result_says_of_its_own_pictures_stays() -> None:
    old, new = finished().form, extended().form
    assert isinstance(old, Atlas)
    assert isinstance(new, Atlas)
    for index in range(len(OLD)):
        assert np.array_equal(new.to_canonical[index], old.to_canonical[index])
        assert np.array_equal(new.from_canonical[index], old.from_canonical[index], equal_nan=True)
        assert np.array_equal(new.confidence[index], old.confidence[index])
        assert extended().scores[index] == finished().scores[index]
    before, after = finished().tensors, extended().tensors
    assert np.array_equal(after["matches"][: len(before["matches"])], before["matches"])
    assert np.array_equal(after["atlas_saliency"], before["atlas_saliency"])
    assert np.array_equal(after["part_features"], before["part_features"])


def test_new_pictures_come_to_their_places_though_they_outnumber_the_old() -> None:
    truth = annotated(ALL, mirrored=MIRRORED)
    report = pck(extended().form, truth, [0.05, 0.1])
    assert report.missing == 0
    assert report.scores[0].per_point > 0.75
    assert report.scores[1].per_point > 0.95
    assert report.scores[1].identity < 0.5


def test_the_mirrored_newcomer_is_found() -> None:
    rows = extended().scores
    assert [row["mirrored"] for row in rows] == [index in MIRRORED for index in ALL]
    assert not any(row["outlier"] for row in rows)
    assert all(row["consistency"] > 0.9 for row in rows)  # type: ignore[operator]
    summary = extended().set_scores
    assert (summary["images"], summary["outliers"]) == (5, 0)
    assert summary["alignment_score"] == pytest.approx(np.mean([row["alignment_score"] for row in rows]))


def test_new_matches_are_of_new_pictures_with_old_ones_in_their_pixels() -> None:
    rows = extended().tensors["matches"][len(finished().tensors["matches"]) :]
    assert len(rows) > 100
    assert (rows[:, 0] >= len(OLD)).all()
    assert (rows[:, 3] < len(OLD)).all()
    sizes = np.array([[image.width, image.height] for image in masked_pictures(ALL, mirrored=MIRRORED)])
    for column in (0, 3):
        points = rows[:, column + 1 : column + 3]
        assert points.min() >= -2
        assert (points <= sizes[rows[:, column].astype(int)] + 2).all()


def test_new_pictures_get_the_parts_of_the_old() -> None:
    shares = extended().tensors["part_shares"]
    assert shares.shape[0] == len(finished().tensors["part_features"])
    shown = shares.sum(axis=0) > 0.9
    assert shares.max(axis=0)[shown].mean() > 0.85


def test_a_result_without_what_belongs_to_it_is_refused() -> None:
    poor = replace(finished(), tensors={"atlas_saliency": finished().tensors["atlas_saliency"]})
    with pytest.raises(ValueError, match="lacks background_features, matches, part_features; compute it anew"):
        Asic(BackboneProvider()).extend(poor, masked_pictures(ALL), PARAMS, Run.local())
