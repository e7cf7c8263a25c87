import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from alignment.atlas import Atlas
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize, cell_centres
from api_schemas.manifest import ArtifactKind, Tensor
from workers.methods.base import InputImage, MethodResult
from workers.methods.export import Exported, export
from workers.rendering.asked_points import asked_points
from workers.rendering.contact_sheet import ALARM, layout


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


def tensor_of(exported: Exported, name: str) -> Tensor:
    (draft,) = [draft for draft, _ in exported.artifacts if draft.name == name]
    (tensor,) = draft.tensors
    return tensor


def test_pictures_and_tensors_of_single_images(tmp_path: Path) -> None:
    result = MethodResult(
        form=atlas(),
        backbone="b",
        image_pictures={
            "congealed_pca": [np.full((8, 8, 3), 20 * n, np.uint8) for n in range(3)],
            "image_saliency": [np.full((6, 8), 20 * n, np.uint8) for n in range(3)],
        },
        image_tensors={"residual_flow": [np.full((8, 8, 2), 0.1 * n, np.float32) for n in range(3)]},
    )
    exported = export(result, images(), tmp_path)
    drafts = {draft.name: draft for draft, _ in exported.artifacts}
    assert drafts["pictures/congealed_pca/001.png"].kind is ArtifactKind.CONGEALED_PCA
    assert drafts["pictures/image_saliency/002.png"].images == [2]
    with Image.open(tmp_path / "pictures/image_saliency/002.png") as picture:
        assert (picture.mode, picture.size, picture.getpixel((0, 0))) == ("L", (8, 6), 40)
    flow = load_file(tmp_path / "tensors/residual_flow/001.safetensors")["residual_flow"]
    assert flow.dtype == np.float16
    assert flow == pytest.approx(0.1, abs=1e-4)
    described = tensor_of(exported, "tensors/residual_flow/001.safetensors")
    assert (described.axes, described.shape) == (["y", "x", "xy"], [8, 8, 2])
    assert "[-1, 1]" in described.frame


def test_every_tensor_says_its_axes_and_what_nan_means(tmp_path: Path) -> None:
    tensors = {
        "atlas_features": np.zeros((4, 8, 8), np.float32),
        "atlas_saliency": np.full((8, 8), 0.25, np.float32),
        "training_curve": np.zeros((5, 3), np.float32),
    }
    exported = export(MethodResult(form=atlas(), backbone="b", tensors=tensors), images(), tmp_path)
    for draft, path in exported.artifacts:
        stored = load_file(path) if path.suffix == ".safetensors" else {}
        assert [tensor.name for tensor in draft.tensors] == list(stored)
        assert all(len(tensor.axes) == stored[tensor.name].ndim and tensor.frame for tensor in draft.tensors)
    forward = next(draft for draft, _ in exported.artifacts if draft.kind is ArtifactKind.MAP_TO_CANONICAL)
    assert forward.tensors[0].missing == "NaN where the image point has no place in the atlas"
    assert tensor_of(exported, "atlas_saliency.safetensors").dtype == "F16"
    assert tensor_of(exported, "training_curve.safetensors").dtype == "F32"


def test_the_set_and_its_outlier_are_told(tmp_path: Path) -> None:
    scores = [{"alignment_score": score, "outlier": score < 0.5} for score in (1.0, 0.1, 0.9)]
    result = MethodResult(form=atlas(), backbone="b", scores=scores, set_scores={"images": 3, "outliers": 1})
    exported = export(result, images(), tmp_path)
    told = json.loads((tmp_path / "transforms.json").read_text())
    assert told["set"] == {"images": 3, "outliers": 1}
    assert told["images"][1]["alignment_score"] == 0.1
    assert exported.self_check["alignment_score"] == pytest.approx(2 / 3, abs=1e-4)
    assert any(str(warning).startswith("image 1 (1.png):") for warning in exported.self_check["warnings"])  # type: ignore[union-attr]
    with Image.open(tmp_path / "pictures/contact_sheet.png") as sheet:
        assert (np.asarray(sheet) == ALARM).all(axis=-1).any()


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


def test_heat_maps_points_and_embeddings_are_called_so(tmp_path: Path) -> None:
    result = MethodResult(
        form=pairs(),
        backbone="b",
        pictures={"pictures/heat_maps/query_000": np.zeros((8, 8, 3), np.uint8)},
        image_pictures={"points": [np.zeros((8, 8, 3), np.uint8)] * 3},
        tensors={"embeddings": np.zeros((1, 1, 77, 8), np.float32), "loss_curves": np.zeros((1, 1, 5), np.float32)},
        image_tensors={"heat_maps": [np.full((2, 4, 4), np.nan, np.float32)] * 3},
        documents={"matches": [], "embeddings_info": {}},
    )
    exported = export(result, images(), tmp_path)
    kinds = {draft.name: draft.kind for draft, _ in exported.artifacts}
    assert kinds["pictures/heat_maps/query_000.png"] is ArtifactKind.HEAT_MAPS
    assert kinds["pictures/points/002.png"] is ArtifactKind.POINTS
    assert kinds["embeddings.safetensors"] is ArtifactKind.EMBEDDINGS
    assert kinds["loss_curves.safetensors"] is ArtifactKind.TRAINING_CURVE
    assert kinds["tensors/heat_maps/001.safetensors"] is ArtifactKind.HEAT_MAPS
    assert (kinds["matches.json"], kinds["embeddings_info.json"]) == (
        ArtifactKind.MATCHES,
        ArtifactKind.EMBEDDINGS_INFO,
    )
    assert tensor_of(exported, "embeddings.safetensors").axes == ["embedding", "round", "token", "channel"]
    heat = tensor_of(exported, "tensors/heat_maps/001.safetensors")
    assert (heat.dtype, heat.axes) == ("F16", ["query", "y", "x"])


def points_only(source: int) -> PairwiseMaps:
    queries = np.array([[20, 30], [60, 45]], dtype=np.float32)
    row = np.column_stack([queries, queries[::-1], [1.0, 0.5]]).astype(np.float32)
    keys = [(source, other) for other in range(3) if other != source]
    return PairwiseMaps((ImageSize(80, 60),) * 3, {}, {}, dict.fromkeys(keys, row))


@pytest.mark.parametrize("source", [0, 2])
def test_sheet_of_queried_points_shows_them_on_every_picture(source: int, tmp_path: Path) -> None:
    grey = [InputImage(f"{n}.png", np.full((60, 80, 3), 90 + 20 * n, dtype=np.uint8)) for n in range(3)]
    export(MethodResult(form=points_only(source), backbone="b"), grey, tmp_path)
    with Image.open(tmp_path / "pictures/contact_sheet.png") as picture:
        drawn = np.asarray(picture)
    plan = layout(3)
    colours = asked_points(points_only(source)).colours
    for index in range(3):
        x, y = plan.corner(index)
        first = drawn[y + plan.tile + 8 + plan.tile // 2, x + plan.tile // 4].astype(int)
        assert (np.abs(first - colours[0]).max() < 40) == (index == source)
        assert (drawn[y + plan.tile // 2, x + plan.tile // 2] == 90 + 20 * index).all()
    panel = drawn[86:, plan.width - plan.panel - 28 : -28].astype(int)
    assert np.abs(panel - colours[1]).max(axis=-1).min() < 20


def test_sheet_of_one_way_maps_is_in_the_frame_of_their_source(tmp_path: Path) -> None:
    shades = [InputImage(f"{n}.png", np.full((60, 80, 3), 90 + 40 * n, dtype=np.uint8)) for n in range(3)]
    dense = pairs()
    kept = {pair: dense.maps[pair] for pair in [(2, 0), (2, 1)]}
    form = PairwiseMaps(dense.images, kept, {pair: dense.confidence[pair] for pair in kept})
    export(MethodResult(form=form, backbone="b"), shades, tmp_path)
    with Image.open(tmp_path / "pictures/contact_sheet.png") as picture:
        drawn = np.asarray(picture)
    plan = layout(3)
    for index in range(3):
        x, y = plan.corner(index)
        below = drawn[y + plan.tile + 8 + plan.tile // 2, x + plan.tile // 2]
        assert np.abs(below.astype(int) - (90 + 40 * index)).max() <= 1


def test_tensor_without_a_kind_is_refused(tmp_path: Path) -> None:
    result = MethodResult(form=atlas(), backbone="b", tensors={"mystery": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="'mystery' has no artifact kind"):
        export(result, images(), tmp_path)


def test_picture_for_some_images_only_is_refused(tmp_path: Path) -> None:
    result = MethodResult(form=atlas(), backbone="b", image_pictures={"congealed_mask": [np.zeros((8, 8), np.uint8)]})
    with pytest.raises(ValueError, match="'congealed_mask' is given for 1 of 3 images"):
        export(result, images(), tmp_path)
