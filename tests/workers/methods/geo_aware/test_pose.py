from math import isnan, nan

import pytest

from workers.methods.geo_aware.pose import predict

SIDES = {"back": [3.0, 3.0, 3.0], "front": [2.0, 2.0, 2.0], "left": [1.0, 4.0, 1.0], "right": [4.0, 1.0, 3.5]}


def test_the_majority_of_the_series_wins() -> None:
    found = predict(SIDES)
    assert found.label == "left"
    assert found.votes == {"back": 0, "front": 0, "left": 2, "right": 1}
    assert found.margin == 0.0


def test_two_labels_are_told_by_the_signs_of_their_differences() -> None:
    found = predict({"left": [1.0, 1.0, 9.0], "right": [1.5, 1.5, 2.0]})
    assert (found.label, found.votes) == ("left", {"left": 2, "right": 1})
    assert found.margin == pytest.approx(-2.0)


def test_ties_go_to_the_label_that_comes_first() -> None:
    assert predict({"b": [1.0, 2.0], "a": [2.0, 1.0]}).label == "b"
    assert predict({"b": [1.0], "a": [1.0]}).votes == {"b": 1, "a": 0}


def test_without_series_the_mean_decides() -> None:
    found = predict({"left": [3.0, 1.0], "right": [1.5]})
    assert (found.label, found.votes) == ("right", {"left": 0, "right": 0})
    assert found.margin == pytest.approx(0.5)


def test_what_is_unknown_does_not_count() -> None:
    found = predict({"left": [nan, 2.0, nan], "right": [5.0, 3.0, nan]})
    assert found.votes == {"left": 1, "right": 1}
    assert found.label == "left"
    assert isnan(predict({"left": [1.0]}).margin)


def test_nothing_known_predicts_nothing() -> None:
    for distances in ({}, {"left": []}, {"left": [nan], "right": [nan]}):
        with pytest.raises(ValueError, match="no distance to a template is known"):
            predict(distances)
