"""The training of the embedded backbone, end to end on a handful of drawn pictures."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from benchmarks.photographs import PhotographSet
from benchmarks.train_embedded.__main__ import recipe_from
from benchmarks.train_embedded.ablation import VARIANTS
from benchmarks.train_embedded.batches import Chooser
from benchmarks.train_embedded.export import export
from benchmarks.train_embedded.near_duplicates import ALIKE, closest, photographs_in
from benchmarks.train_embedded.pictures import LabelledPictures, read_pictures
from benchmarks.train_embedded.recipe import Recipe
from benchmarks.train_embedded.scoring import KeypointSet, identity_pck, nearest_neighbour_pck
from benchmarks.train_embedded.training import Training
from benchmarks.train_embedded.views import draw_views
from workers.backbones.embedded import Embedded
from workers.backbones.weights.checksums import sha256_of
from workers.methods.base import InputImage

RECIPE = Recipe(
    steps=6,
    kinds_per_batch=2,
    pictures_per_kind=2,
    related=("ant tick", "boat plane"),
    related_share=0.5,
    sizes_px=((32,), (48,)),
    size_shares=(0.5, 0.5),
    cross_image_from=0.0,
    cross_image_full=0.1,
    warm_up_steps=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, draw = tmp_path_factory.mktemp("things"), np.random.default_rng(0)
    for label in ("ant", "boat", "tick"):
        (root / label).mkdir()
        for number in range(3):
            noise = Image.fromarray(draw.integers(0, 255, (4, 6, 3), dtype=np.uint8))
            picture = noise.resize((60, 40), Image.Resampling.BICUBIC)
            ImageDraw.Draw(picture).ellipse((10, 5, 30 + 5 * number, 30), fill=(200, 40, 40))
            picture.save(root / label / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def pictures(folder: Path) -> LabelledPictures:
    return read_pictures(folder)


def test_a_folder_and_a_zip_archive_read_alike(folder: Path, pictures: LabelledPictures, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "things.zip", "w") as archive:
        for path in folder.rglob("*.png"):
            archive.write(path, f"things/{path.relative_to(folder)}")
        archive.writestr("things/README.txt", "no picture")
    zipped = read_pictures(tmp_path / "things.zip")
    assert zipped.classes == pictures.classes == ["ant", "boat", "tick"]
    assert zipped.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert zipped.frames.equal(pictures.frames)
    torch.testing.assert_close(zipped.extents[0], torch.tensor([1.0, 2 / 3]))


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no pictures"):
        read_pictures(tmp_path)


def test_a_step_sees_several_pictures_of_each_kind(pictures: LabelledPictures) -> None:
    torch.manual_seed(0)
    chosen = Chooser(pictures, RECIPE).draw()
    one_class, related = chosen.labels[:3], chosen.labels[3:]
    assert len(set(one_class.tolist())) == 1
    assert set(related.tolist()) == {0, 2}
    assert chosen.families[3:].tolist() == [0, 0, 0]
    assert chosen.pictures[0] == chosen.pictures[2]
    assert all(len(set(kind.tolist())) == 1 for kind in chosen.facing.split(3))


def test_views_know_where_their_places_lie(pictures: LabelledPictures) -> None:
    torch.manual_seed(0)
    facing = torch.tensor([1.0, -1.0] * 4)
    views = draw_views(pictures, torch.arange(8), facing, size_px=32, clutter_share=0.5)
    assert views.inputs.shape == (8, 3, 32, 32)
    to_the_right = views.places[:, 16, -1, 0] - views.places[:, 16, 0, 0]
    assert to_the_right.sign().equal(facing)
    above = views.places[..., 1].abs() > 2 / 3
    assert not views.inside[above].any()
    assert views.inside.any(dim=(1, 2)).all()


def test_a_training_taken_up_again_ends_the_same(pictures: LabelledPictures, tmp_path: Path) -> None:
    straight = Training(pictures, RECIPE)
    before = straight.average.stem[0].weight.clone()
    straight.run(lambda *_: None)
    cut = Training(pictures, RECIPE)
    cut.run(lambda *_: None, until=3)
    cut.save(tmp_path / "checkpoint.pt")
    resumed = Training(pictures, replace(RECIPE, seed=9))
    resumed.restore(tmp_path / "checkpoint.pt")
    resumed.run(lambda *_: None)
    assert resumed.step == straight.step == 6
    assert not straight.average.stem[0].weight.equal(before)
    for name, value in straight.average.state_dict().items():
        torch.testing.assert_close(resumed.average.state_dict()[name], value, msg=name)


def test_the_exported_file_is_what_the_backbone_loads(pictures: LabelledPictures, tmp_path: Path) -> None:
    training = Training(pictures, RECIPE)
    sha256 = export(training.average, pictures, tmp_path / "embedded.safetensors")
    tensors = load_file(tmp_path / "embedded.safetensors")
    assert sha256 == sha256_of(tmp_path / "embedded.safetensors")
    assert tensors.keys() == Embedded().state_dict().keys()
    assert (tmp_path / "embedded.safetensors").stat().st_size < 12e6


def test_unknown_choices_are_refused() -> None:
    assert recipe_from({"steps": 3, "size_shares": [1.0]}) == Recipe(steps=3, size_shares=(1.0,))
    with pytest.raises(ValueError, match=r"has no setps; it has .*steps"):
        recipe_from({"setps": 3})


def test_planted_duplicates_are_found(folder: Path, pictures: LabelledPictures, tmp_path: Path) -> None:
    with Image.open(folder / "boat" / "1.png") as known:
        known.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.jpg")
        wider = Image.new("RGB", (100, 80), (20, 120, 60))
        wider.paste(known, (25, 10))
        wider.save(tmp_path / "within.png")
    Image.effect_mandelbrot((60, 40), (-2, -1, 1, 1), 30).convert("RGB").save(tmp_path / "new.png")
    entry = {"file": "within.png", "bbox": [25, 10, 85, 50]}
    (tmp_path / "annotations.json").write_text(json.dumps({"images": [entry]}), encoding="utf-8")
    pairs = closest(pictures, list(photographs_in(tmp_path)))
    alike = {(pair.photograph, pair.part, pair.training_index) for pair in pairs if pair.correlation >= ALIKE}
    assert alike == {("mirrored.jpg", "whole", 4), ("within.png", "box", 4)}


def test_features_that_know_the_places_score_one() -> None:
    draw = np.random.default_rng(0)
    rgb = draw.integers(0, 255, (192, 256, 3), dtype=np.uint8)
    points = np.concatenate([draw.uniform(20, 170, (5, 2)), np.ones((5, 1))], axis=1)
    shifted = points + np.array([40.0, 0.0, 0.0])
    shifted[4] = 0
    boxes = [np.array([0.0, 0.0, 192.0, 192.0])] * 2
    pair = KeypointSet(PhotographSet("pair", [InputImage("a", rgb), InputImage("b", rgb)], [points, shifted], boxes))
    assert pair.points[0, 0].tolist() == pytest.approx([points[0, 0], points[0, 1] + 32])
    rows, columns = torch.meshgrid(torch.arange(2.0, 256, 4), torch.arange(2.0, 256, 4), indexing="ij")
    angles = torch.stack([torch.stack([columns, rows]), torch.stack([columns - 40, rows])]) / 100
    features = torch.cat([angles.sin(), angles.cos()], dim=1)
    assert nearest_neighbour_pck(pair, features) == 1
    assert nearest_neighbour_pck(pair, features[:1].expand(2, -1, -1, -1)) == 0
    assert identity_pck(pair) == 0


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_the_ablation_trains(pictures: LabelledPictures, variant: str) -> None:
    training = Training(pictures, replace(VARIANTS[variant], kinds_per_batch=2, related=("ant tick",), steps=2))
    before = training.average.join.weight.clone()
    training.run(lambda _step, _figures: None)
    assert not torch.equal(training.average.join.weight, before)
