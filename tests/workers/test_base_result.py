"""A result folder read back for the method that extends it."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from alignment.pairwise import PairwiseMaps
from alignment.storage_format import form_kind
from api_schemas.base import new_id
from api_schemas.manifest import Artifact, Environment, Manifest, ManifestImage, ManifestMethod
from tests.alignment.builders import SIZES, queried_points
from workers.base_result import read_base
from workers.methods.base import BaseResult, InputImage, MethodResult
from workers.methods.export import export
from workers.protocol import MANIFEST_NAME

IDENTITY = "sd-tiny:half"
HEAT = [np.full((2, 3, 4), 0.25 * index, dtype=np.float32) for index in range(3)]


def result() -> MethodResult:
    return MethodResult(
        form=queried_points(),
        backbone="b",
        backbone_identity=IDENTITY,
        scores=[{"seconds": float(index)} for index in range(3)],
        tensors={
            "embeddings": np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4),
            "loss_curves": np.array([[[0.5, np.nan]]], dtype=np.float32),
        },
        documents={"matches": {"queries": [1, 2]}, "embeddings_info": [{"query": 0}]},
        image_tensors={"heat_maps": HEAT},
        image_pictures={"points": [np.zeros((4, 4, 3), dtype=np.uint8)] * 3},
    )


def written(folder: Path) -> Path:
    """A result folder as a worker stores it, without its pictures; artifacts stand in no order of images."""
    noise = np.random.default_rng(0)
    images = [
        InputImage(f"{index}.png", noise.integers(0, 255, (size.height, size.width, 3), dtype=np.uint8))
        for index, size in enumerate(SIZES)
    ]
    exported = export(result(), images, folder)
    manifest = Manifest(
        job_id=new_id("job"),
        form=form_kind(result().form),
        method=ManifestMethod(id="m", version="1"),
        backbone="b",
        backbone_identity=IDENTITY,
        params={},
        seed=0,
        created_at=datetime.now(UTC),
        environment=Environment(python="3", torch="2", device="cpu", congeal="0"),
        images=[
            ManifestImage(
                index=index, id=new_id("img"), sha256="0" * 64, name=image.name, width=image.width, height=image.height
            )
            for index, image in enumerate(images)
        ],
        artifacts=[Artifact(**dict(draft), bytes=1, sha256="0" * 64) for draft, _ in reversed(exported.artifacts)],
        self_check=exported.self_check,
    )
    (folder / MANIFEST_NAME).write_text(manifest.model_dump_json(by_alias=True))
    for picture in folder.rglob("*.png"):
        picture.unlink()
    return folder


@pytest.fixture
def base(tmp_path: Path) -> BaseResult:
    return read_base(written(tmp_path / "result"))


def test_points_figures_and_the_backbone_come_back(base: BaseResult) -> None:
    assert isinstance(base.form, PairwiseMaps)
    for pair, rows in queried_points().points.items():
        np.testing.assert_array_equal(base.form.points[pair], rows)
    assert base.scores == [{"seconds": 0.0}, {"seconds": 1.0}, {"seconds": 2.0}]
    assert base.backbone_identity == IDENTITY


def test_tensors_and_documents_of_the_method_come_back(base: BaseResult) -> None:
    assert base.tensors.keys() == {"embeddings", "loss_curves"}
    np.testing.assert_array_equal(base.tensors["embeddings"], result().tensors["embeddings"])
    assert base.documents == result().documents


def test_tensors_of_images_come_back_in_their_order_and_stay_on_disk(base: BaseResult) -> None:
    assert base.image_tensors.keys() == {"heat_maps"}
    for found, given in zip(base.image_tensors["heat_maps"], HEAT, strict=True):
        assert isinstance(found, np.memmap)
        assert found.dtype == np.float16
        np.testing.assert_array_equal(found, given)
