import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from workers.evaluation.__main__ import main
from workers.evaluation.anatomy import KEYPOINTS, canonical_fields, sample
from workers.evaluation.export import write_sample_set
from workers.evaluation.synthetic import SyntheticSet, sample_set
from workers.evaluation.warps import pixel_centres


@pytest.fixture(scope="module")
def drawn() -> SyntheticSet:
    return sample_set()


@pytest.fixture(scope="module")
def odd() -> SyntheticSet:
    """The first pictures again, one of them mirrored and one without the object."""
    return sample_set(count=3, mirrored=[1], without_object=[2])


def identity_pck(truth: SyntheticSet, share: float) -> float:
    hits = []
    for a, first in enumerate(truth.images):
        for b, second in enumerate(truth.images):
            if a != b and second.bbox is not None:
                x0, y0, x1, y1 = second.bbox
                copied = first.keypoints / first.size * second.size
                gaps = np.linalg.norm(copied - second.keypoints, axis=1)
                hits.append(gaps <= share * max(x1 - x0, y1 - y0))
    return float(np.mean(hits))


def test_set_has_what_it_says(drawn: SyntheticSet) -> None:
    assert len(drawn.images) == len(drawn.warps) == 12
    assert len({image.size for image in drawn.images}) >= 8
    for image in drawn.images:
        width, height = image.size
        assert image.rgb.dtype == np.uint8
        assert image.rgb.shape == (height, width, 3)
        assert image.canonical.shape == (height, width, 2)
        assert image.keypoints.shape == (16, 2)
        assert image.visible.all()
        assert 0.06 < image.mask.mean() < 0.4


def test_truth_is_exact_at_every_foreground_pixel(drawn: SyntheticSet) -> None:
    for index, image in enumerate(drawn.images):
        centres = pixel_centres(*image.size)[image.mask]
        np.testing.assert_allclose(drawn.to_image(index, image.canonical[image.mask]), centres, atol=1e-3)
        again = drawn.to_image(index, drawn.to_canonical(index, centres))
        np.testing.assert_allclose(again, centres, atol=1e-8)
        assert np.isnan(image.canonical[~image.mask]).all()


def test_keypoints_share_one_canonical_place(drawn: SyntheticSet) -> None:
    for index, image in enumerate(drawn.images):
        found = drawn.to_canonical(index, image.keypoints)
        np.testing.assert_allclose(found, list(KEYPOINTS.values()), atol=1e-5)
        rows, columns = (image.keypoints[:, axis].astype(int) for axis in (1, 0))
        assert image.mask[rows, columns].all()


def test_box_is_tight_around_the_mask(drawn: SyntheticSet) -> None:
    for image in drawn.images:
        assert image.bbox is not None
        rows, columns = np.nonzero(image.mask)
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(image.bbox, seen, atol=3.0)
        assert min(image.bbox[:2]) > 5


def test_correspondence_agrees_with_keypoints_and_inverts(drawn: SyntheticSet) -> None:
    source, target = drawn.images[0], drawn.images[5]
    dense = drawn.correspondence(0, 5)
    assert dense.shape == (*source.mask.shape, 2)
    np.testing.assert_array_equal(np.isnan(dense[..., 0]), ~source.mask)
    for here, there in zip(source.keypoints, target.keypoints, strict=True):
        row, column = int(here[1]), int(here[0])
        moved = dense[row, column] - there
        assert np.linalg.norm(moved) < 2 * np.linalg.norm(here - (column + 0.5, row + 0.5)) + 1e-3
    back = drawn.to_image(0, drawn.to_canonical(5, dense[source.mask]))
    np.testing.assert_allclose(back, pixel_centres(*source.size)[source.mask], atol=1e-3)


def test_identity_map_of_a_picture_with_itself(drawn: SyntheticSet) -> None:
    image = drawn.images[3]
    np.testing.assert_allclose(
        drawn.correspondence(3, 3)[image.mask], pixel_centres(*image.size)[image.mask], atol=1e-4
    )


def test_picture_shows_the_object_where_the_truth_says(drawn: SyntheticSet) -> None:
    # The iris is bright and the pupil dark wherever the eye's canonical place falls.
    for image in drawn.images:
        x, y = image.keypoints[list(KEYPOINTS).index("eye")]
        pupil = image.rgb[int(y), int(x)].mean()
        around = image.rgb[int(y) - 12 : int(y) + 12, int(x) - 12 : int(x) + 12].mean(axis=-1)
        assert pupil < 60
        assert np.percentile(around, 90) > pupil + 60


def test_copying_places_scores_poorly(drawn: SyntheticSet) -> None:
    assert 0.2 < identity_pck(drawn, 0.1) < 0.45


def test_individuals_differ_in_shape_beyond_a_similarity(drawn: SyntheticSet) -> None:
    residuals = []
    reference = np.array(list(KEYPOINTS.values())) @ [1, 1j]
    basis = np.stack([reference, np.ones_like(reference)], axis=1)
    for index, image in enumerate(drawn.images):
        points = image.keypoints @ [1, 1j]
        fit = basis @ np.linalg.lstsq(basis, points, rcond=None)[0]
        residuals.append(np.abs(points - fit).mean() / drawn.warps[index].pose.scale_px)
    assert 0.015 < np.mean(residuals) < 0.06


def test_same_seed_same_bytes_whatever_the_options(drawn: SyntheticSet, odd: SyntheticSet) -> None:
    first, mirrored = drawn.images[0], drawn.images[1]
    assert odd.images[0].rgb.tobytes() == first.rgb.tobytes()
    assert odd.images[0].canonical.tobytes() == first.canonical.tobytes()
    np.testing.assert_array_equal(odd.images[1].rgb, mirrored.rgb[:, ::-1])
    other = sample_set(8, 1).images[0]
    assert other.rgb.shape != first.rgb.shape or np.abs(other.rgb.astype(int) - first.rgb).mean() > 5


def test_mirrored_truth_is_mirrored(drawn: SyntheticSet, odd: SyntheticSet) -> None:
    plain, mirrored = drawn.images[1], odd.images[1]
    np.testing.assert_allclose(mirrored.keypoints[:, 0], plain.size[0] - plain.keypoints[:, 0], atol=1e-3)
    np.testing.assert_array_equal(mirrored.mask, plain.mask[:, ::-1])
    np.testing.assert_allclose(mirrored.canonical, plain.canonical[:, ::-1], atol=1e-6)
    assert odd.mirrored == (1,)


def test_picture_without_the_object(odd: SyntheticSet) -> None:
    empty = odd.images[2]
    assert empty.bbox is None
    assert not empty.mask.any()
    assert not empty.visible.any()
    assert np.isnan(empty.keypoints).all()
    assert np.isnan(empty.canonical).all()
    assert np.isnan(odd.correspondence(0, 2)).all()
    assert np.isnan(odd.correspondence(2, 0)).all()


def test_mask_is_the_silhouette(drawn: SyntheticSet) -> None:
    image = drawn.images[7]
    canonical = drawn.to_canonical(7, pixel_centres(*image.size))
    np.testing.assert_array_equal(image.mask, sample(canonical_fields().silhouette, canonical) < 0)


@pytest.mark.parametrize("options", [{"mirrored": [2]}, {"without_object": [-1]}])
def test_index_outside_the_set_is_refused(options: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="outside the set; use 0 to 1"):
        sample_set(7, 2, **options)


def test_empty_set_is_refused() -> None:
    with pytest.raises(ValueError, match="count 0"):
        sample_set(7, 0)


def test_written_set_reads_back(odd: SyntheticSet, tmp_path: Path) -> None:
    files = write_sample_set(tmp_path, odd)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["keypoint_names"] == list(odd.keypoint_names)
    for file, image, entry in zip(files, odd.images, truth["images"], strict=True):
        assert tmp_path / entry["file"] == file
        assert (entry["width"], entry["height"]) == image.size
        np.testing.assert_array_equal(np.asarray(Image.open(file)), image.rgb)
        assert file.stat().st_size < 600_000
        stored = load_file(tmp_path / "truth" / f"{image.name}.safetensors")
        np.testing.assert_array_equal(stored["canonical"], image.canonical)
        assert [bool(v) for _, _, v in entry["keypoints"]] == image.visible.tolist()
    np.testing.assert_allclose(truth["images"][0]["bbox"], odd.images[0].bbox, atol=1e-3)
    np.testing.assert_allclose(np.array(truth["images"][1]["keypoints"])[:, :2], odd.images[1].keypoints, atol=1e-3)
    assert truth["images"][2]["bbox"] is None


def test_command_writes_the_set(tmp_path: Path, drawn: SyntheticSet, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(tmp_path), "--seed", "7", "--count", "1"])
    assert "1 pictures" in capsys.readouterr().out
    written = np.asarray(Image.open(tmp_path / "images" / "00_reef_fish.png"))
    np.testing.assert_array_equal(written, drawn.images[0].rgb)


def test_command_explains_a_bad_index(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--count", "2", "--mirrored", "5"])
    assert "picture index 5 is outside the set" in capsys.readouterr().err
