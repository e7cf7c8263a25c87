import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from alignment.atlas import Atlas
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize, cell_centres
from api_schemas.manifest import ArtifactKind
from workers.methods.base import InputImage, MethodResult
from workers.methods.export import export


def images() -> list[InputImage]:
    noise = np.random.default_rng(0)
    return [InputImage(f"{n}.png", noise.integers(0, 255, (60, 80, 3), dtype=np.uint8)) for n in range(3)]


def atlas() -> Atlas:
    size = ImageSize(80, 60)
    forward = cell_centres(30, 40, np.ones(2)).astype(np.float32)
    backward = cell_centres(16, 16, size.extent).astype(np.float32)
    confidence = np.full((30, 40), 0.5, dtype=np.float32)
    return Atlas((size,) * 3, (forward,) * 3, (backward,) * 3, (confidence,) * 3)


def pairs() -> PairwiseMaps:
    size = ImageSize(80, 60)
    own = cell_centres(15, 20, size.extent).astype(np.float32)
    keys = [(i, j) for i in range(3) for j in range(3) if i != j]
    return PairwiseMaps((size,) * 3, dict.fromkeys(keys, own), {key: np.ones((15, 20)) for key in keys})


def test_atlas_folder_holds_what_its_drafts_say(tmp_path: Path) -> None:
    result = MethodResult(
        form=atlas(),
        backbone="dense_descriptor",
        scores=[{"agreement": 0.5, "mirrored": False}] * 3,
        pictures={
            "pictures/atlas": np.zeros((8, 8, 3), np.uint8),
            "pictures/atlas_saliency": np.zeros((8, 8, 3), np.uint8),
        },
        tensors={"atlas_features": np.zeros((4, 8, 8), np.float32)},
    )
    exported = export(result, images(), tmp_path / "result")
    files = {str(path.relative_to(tmp_path / "result")) for path in (tmp_path / "result").rglob("*") if path.is_file()}
    assert files == {draft.name for draft, _ in exported.artifacts}
    kinds = [draft.kind for draft, _ in exported.artifacts]
    assert kinds.count(ArtifactKind.CONGEALED_IMAGE) == 3
    assert kinds.count(ArtifactKind.CONTACT_SHEET) == 1
    assert ArtifactKind.ATLAS_SALIENCY in kinds
    assert json.loads((tmp_path / "result/self_check.json").read_text()) == exported.self_check
    rows = json.loads((tmp_path / "result/transforms.json").read_text())["images"]
    assert rows[1] == {"index": 1, "name": "1.png", "agreement": 0.5, "mirrored": False}
    assert load_file(tmp_path / "result/atlas_features.safetensors")["atlas_features"].shape == (4, 8, 8)


def test_identity_atlas_congeals_to_the_stretched_picture(tmp_path: Path) -> None:
    export(MethodResult(form=atlas(), backbone="b"), images(), tmp_path)
    with Image.open(tmp_path / "pictures/congealed/001.png") as picture:
        assert picture.mode == "RGBA"
        assert picture.size == (256, 256)
        shown = np.asarray(picture.resize((80, 60), Image.Resampling.BOX)).astype(float)
    original = images()[1].rgb.astype(float)
    assert np.corrcoef(shown[..., :3].ravel(), original.ravel())[0, 1] > 0.8
    assert (shown[2:-2, 2:-2, 3] == 255).all()


def test_pairwise_folder_has_maps_and_a_sheet_but_no_congealed_images(tmp_path: Path) -> None:
    exported = export(MethodResult(form=pairs(), backbone="b"), images(), tmp_path)
    kinds = {draft.kind for draft, _ in exported.artifacts}
    assert kinds == {ArtifactKind.PAIR_MAPS, ArtifactKind.CONTACT_SHEET, ArtifactKind.SELF_CHECK}


def test_tensor_without_a_kind_is_refused(tmp_path: Path) -> None:
    result = MethodResult(form=atlas(), backbone="b", tensors={"mystery": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="'mystery' has no artifact kind"):
        export(result, images(), tmp_path)
