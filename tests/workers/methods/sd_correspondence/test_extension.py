"""Images that are added to a finished job."""

import numpy as np
import pytest

from tests.workers.methods.sd_correspondence.bed import (
    THREE,
    TINY,
    TWO,
    WIDE,
    as_base,
    found,
    local,
    params,
    points,
    tiny,
)
from workers.evaluation.attention_bed import CanonicalReader
from workers.methods.base import OtherWeightsError
from workers.methods.sd_correspondence.pipeline import find_in_more
from workers.methods.sd_correspondence.work import lay_out


@pytest.mark.parametrize("preset", ["fast", "cached", "joint", "official"])
def test_added_images_are_read_as_if_they_had_been_there(preset: str) -> None:
    tuning = TINY | ({"crop_bank": 0} if preset == "official" else {})
    chosen = params(preset, queries=TWO, tuning=tuning, cycle=preset != "official")
    base = found(THREE[:2], chosen)
    more = find_in_more(as_base(base), lay_out(THREE, chosen, CanonicalReader(), local()))
    whole = found(THREE, chosen)
    assert set(points(more)) == set(points(whole))
    for pair in points(whole):
        np.testing.assert_allclose(points(more)[pair], points(whole)[pair], rtol=1e-5, atol=1e-4)
    for one, other in zip(more.image_tensors["heat_maps"], whole.image_tensors["heat_maps"], strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ("embeddings", "loss_curves"):
        np.testing.assert_array_equal(more.tensors[name], whole.tensors[name])
    assert more.documents == whole.documents


def test_embeddings_of_another_network_are_refused() -> None:
    result = found(THREE, tiny(cycle=False))
    work = lay_out([*THREE, WIDE], tiny(cycle=False), CanonicalReader(seed=1), local())
    with pytest.raises(OtherWeightsError, match=r"seed=0, here is canonical frequency=6\.0 seed=1; bring the same"):
        find_in_more(as_base(result), work)
