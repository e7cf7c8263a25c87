"""Result folders of shapes."""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from safetensors.numpy import load_file

from alignment.shape import Shape
from api_schemas.manifest import ArtifactKind
from tests.alignment.shapes import SIZE, ball
from workers.methods.base import InputImage, MethodResult
from workers.methods.export import export
from workers.rendering.contact_sheet import TILE_GREY, layout

RED, BLUE = (200, 30, 40), (20, 40, 210)
WEBP = b"RIFF\x00\x00\x00\x00WEBP"


def shape() -> Shape:
    return ball((0.0, 20.0, 180.0), cells=(75, 100), texels=32)


def plain(colour: tuple[int, int, int], height: int = 60, width: int = 80) -> npt.NDArray[np.uint8]:
    return np.full((height, width, 3), colour, dtype=np.uint8)


def images() -> list[InputImage]:
    return [InputImage(f"{n}.png", plain((60 + 60 * n,) * 3, SIZE.height, SIZE.width)) for n in range(3)]


def sheet_of(folder: Path) -> npt.NDArray[np.int64]:
    with Image.open(folder / "pictures/contact_sheet.png") as picture:
        return np.asarray(picture).astype(np.int64)


def below(sheet: npt.NDArray[np.int64], index: int) -> npt.NDArray[np.int64]:
    """The middle of the lower tile of an image."""
    plan = layout(3)
    x, y = plan.corner(index)
    colour: npt.NDArray[np.int64] = sheet[y + plan.tile + 8 + plan.tile // 2, x + plan.tile // 2]
    return colour


def panel(sheet: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The middle of the large picture."""
    plan = layout(3)
    x, y = plan.width - 28 - plan.panel // 2, 86 + plan.panel // 2
    colour: npt.NDArray[np.int64] = sheet[y, x]
    return colour


def test_folder_of_a_shape_holds_what_its_drafts_say(tmp_path: Path) -> None:
    result = MethodResult(
        form=shape(),
        backbone="b",
        pictures={f"pictures/turntable/{n:03d}": plain(RED) for n in (1, 0)},
        image_pictures={"overlays": [plain(BLUE)] * 3, "canonical_places": [plain(RED)] * 3},
        documents={"poses": [], "shape_report": {"faces": 7}},
        bundles={"canonical/token": {"token": np.zeros((1, 8), np.float32)}},
        files={
            "canonical/turntable.webp": WEBP,
            "canonical/field.safetensors": b"field",
            "colmap/cameras.txt": b"1 SIMPLE_PINHOLE",
            "colmap/images.txt": b"",
            "colmap/points3d.txt": b"",
        },
    )
    exported = export(result, images(), tmp_path)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {draft.name for draft, _ in exported.artifacts}
    drafts = {draft.name: draft for draft, _ in exported.artifacts}
    kinds = {name: draft.kind for name, draft in drafts.items()}
    assert kinds["pictures/turntable/001.png"] is ArtifactKind.TURNTABLE
    assert kinds["pictures/overlays/002.png"] is ArtifactKind.OVERLAY
    assert kinds["pictures/canonical_places/000.png"] is ArtifactKind.CANONICAL_COORDINATES
    assert (kinds["poses.json"], kinds["shape_report.json"]) == (ArtifactKind.POSES, ArtifactKind.SHAPE_REPORT)
    assert kinds["canonical/token.safetensors"] is ArtifactKind.EMBEDDINGS
    assert kinds["canonical/field.safetensors"] is ArtifactKind.FIELD
    assert kinds["colmap/points3d.txt"] is ArtifactKind.COLMAP
    assert ArtifactKind.CONGEALED_IMAGE not in kinds.values()
    assert drafts["canonical/turntable.webp"].media_type == "image/webp"
    assert drafts["colmap/images.txt"].media_type == "text/plain"
    assert (tmp_path / "canonical/turntable.webp").read_bytes() == WEBP
    assert load_file(tmp_path / "canonical/token.safetensors")["token"].shape == (1, 8)
    assert json.loads((tmp_path / "self_check.json").read_text())["without_pose"] == []


def test_sheet_shows_the_overlays_and_the_shape(tmp_path: Path) -> None:
    result = MethodResult(
        form=shape(),
        backbone="b",
        pictures={"pictures/turntable/001": plain(BLUE), "pictures/turntable/000": plain(RED)},
        image_pictures={"overlays": [plain((n * 50, 90, 10)) for n in range(3)]},
    )
    export(result, images(), tmp_path)
    sheet = sheet_of(tmp_path)
    assert [below(sheet, index).tolist() for index in range(3)] == [[0, 90, 10], [50, 90, 10], [100, 90, 10]]
    assert panel(sheet).tolist() == list(RED)


def test_sheet_without_a_turntable_shows_the_first_overlay(tmp_path: Path) -> None:
    result = MethodResult(form=shape(), backbone="b", image_pictures={"overlays": [plain(RED)] * 2 + [plain(BLUE)]})
    export(result, images(), tmp_path)
    assert panel(sheet_of(tmp_path)).tolist() == list(RED)


def test_sheet_without_overlays_shows_the_images_in_the_frame_of_one(tmp_path: Path) -> None:
    export(MethodResult(form=shape(), backbone="b"), images(), tmp_path)
    sheet = sheet_of(tmp_path)
    assert np.abs(below(sheet, 0) - 60).max() <= 1
    # The second is seen where both show the ball, a little faded; the third shows its other side.
    assert np.abs(below(sheet, 1) - 120).max() < 40
    assert np.abs(below(sheet, 2) - 255 * TILE_GREY).max() <= 1


def test_overlays_of_some_images_only_and_files_without_a_kind_are_refused(tmp_path: Path) -> None:
    few = MethodResult(form=shape(), backbone="b", image_pictures={"overlays": [plain(RED)]})
    with pytest.raises(ValueError, match="'overlays' is given for 1 of 3 images"):
        export(few, images(), tmp_path)
    with pytest.raises(ValueError, match=r"file 'notes.txt' has no artifact kind; known are canonical/turntable.webp"):
        export(MethodResult(form=shape(), backbone="b", files={"notes.txt": b""}), images(), tmp_path)
