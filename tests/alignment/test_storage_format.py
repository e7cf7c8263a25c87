from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from alignment.forms import Form
from alignment.storage_format import form_kind, read_form, write_form
from api_schemas.base import new_id
from api_schemas.manifest import Artifact, Environment, Manifest, ManifestImage, ManifestMethod
from tests.alignment.builders import TO_IMAGE, affine_atlas, affine_pairs, apply


def manifest_of(form: Form, artifacts: list[Artifact]) -> Manifest:
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
    again = read_form(manifest_of(form, []), lambda name: tmp_path / name)
    points = apply(TO_IMAGE[0], np.array([[0.2, 0.3], [0.6, 0.7]]))
    before, after = (each.transfer(points, source=0, target=2) for each in (form, again))
    assert after.points == pytest.approx(before.points)
    assert after.confidence == pytest.approx(before.confidence, abs=1e-3)


def test_maps_are_memory_mapped_and_described(tmp_path: Path) -> None:
    drafts = write_form(affine_atlas(), tmp_path)
    again = read_form(manifest_of(affine_atlas(), []), lambda name: tmp_path / name)
    assert isinstance(again.to_canonical[0], np.memmap)  # type: ignore[union-attr]
    first = drafts[0].tensors[0]
    assert (first.name, first.dtype, first.axes, first.frame) == ("map", "F32", ["y", "x", "xy"], "canonical")
    assert tuple(first.shape) == affine_atlas().to_canonical[0].shape
