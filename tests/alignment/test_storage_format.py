from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from alignment.forms import Form
from alignment.pairwise import PairwiseMaps
from alignment.storage_format import form_kind, read_form, write_form
from api_schemas.base import new_id
from api_schemas.manifest import Artifact, ArtifactDraft, Environment, Manifest, ManifestImage, ManifestMethod
from tests.alignment.builders import TO_IMAGE, affine_atlas, affine_pairs, apply


def manifest_of(form: Form, drafts: list[ArtifactDraft]) -> Manifest:
    artifacts = [Artifact(**draft.model_dump(), bytes=1, sha256="0" * 64) for draft in drafts]
    images = [
        ManifestImage(index=i, id=new_id("img"), sha256="0" * 64, name=f"{i}.png", width=size.width, height=size.height)
        for i, size in enumerate(form.images)
    ]
    return Manifest(
        job_id=new_id("job"),
        form=form_kind(form),
        method=ManifestMethod(id="m", version="1"),
        backbone="dense_descriptor",
        params={},
        seed=0,
        created_at=datetime.now(UTC),
        environment=Environment(python="3", torch="2", device="cpu", congeal="0"),
        images=images,
        artifacts=artifacts,
        self_check={},
    )


@pytest.mark.parametrize("form", [affine_atlas(), affine_pairs()], ids=["atlas", "pairs"])
def test_a_form_read_back_answers_as_before(form: Form, tmp_path: Path) -> None:
    drafts = write_form(form, tmp_path)
    assert all((tmp_path / draft.name).is_file() for draft in drafts)
    again = read_form(manifest_of(form, drafts), lambda name: tmp_path / name)
    points = apply(TO_IMAGE[0], np.array([[0.2, 0.3], [0.6, 0.7]]))
    before, after = (each.transfer(points, source=0, target=2) for each in (form, again))
    assert after.points == pytest.approx(before.points)
    assert after.confidence == pytest.approx(before.confidence, abs=1e-3)


def test_only_the_pairs_that_were_matched_are_kept(tmp_path: Path) -> None:
    whole = affine_pairs()
    kept = {pair: whole.maps[pair] for pair in [(0, 2), (2, 0), (1, 0), (1, 2)]}
    some = replace(whole, maps=kept, confidence={pair: whole.confidence[pair] for pair in kept})
    again = read_form(manifest_of(some, write_form(some, tmp_path)), lambda name: tmp_path / name)
    assert isinstance(again, PairwiseMaps)
    assert again.maps.keys() == kept.keys()
    for pair, field in kept.items():
        np.testing.assert_array_equal(again.maps[pair], field)
    point = np.array([[20.0, 20.0]])
    assert np.isnan(again.transfer(point, source=0, target=1).points).all()
    assert again.transfer(point, source=0, target=1).confidence == [0.0]
    assert again.has(2, 0)
    assert again.has(1, 1)
    assert not again.has(0, 1)
    lone = replace(whole, maps={(0, 1): whole.maps[0, 1]}, confidence={(0, 1): whole.confidence[0, 1]})
    folder = tmp_path / "lone"
    assert [draft.images for draft in write_form(lone, folder)] == [[0]]


def test_maps_are_memory_mapped_and_described(tmp_path: Path) -> None:
    drafts = write_form(affine_atlas(), tmp_path)
    again = read_form(manifest_of(affine_atlas(), drafts), lambda name: tmp_path / name)
    assert isinstance(again.to_canonical[0], np.memmap)  # type: ignore[union-attr]
    first = drafts[0].tensors[0]
    assert (first.name, first.dtype, first.axes, first.frame) == ("map", "F32", ["y", "x", "xy"], "canonical")
    assert tuple(first.shape) == affine_atlas().to_canonical[0].shape
