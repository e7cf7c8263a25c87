"""Pairs of AP-10K, on a set of a few drawn species."""

import hashlib
import json
import random
import sys
from collections import Counter
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from api_schemas.annotations.model import Split
from api_schemas.keypoints.tables import named_schema
from benchmarks.ap10k_pairs import Animal, Pair, animals, excluded, lines, main, split_animals, split_pairs

FAMILIES = {"Bovidae": ["cow", "sheep"], "Canidae": ["dog", "fox", "wolf"], "Ursidae": ["brown bear"]}
COUNTS = {"cow": 90, "sheep": 40, "dog": 61, "fox": 70, "wolf": 52, "brown bear": 5}
NAMES = [name.replace(" ", "_") for name in named_schema("ap10k").names]


def documents(seed: int = 0) -> list[dict[str, Any]]:
    """Three files with the images of six species; ids do not follow the species, and v is 0, 1 or 2 by chance."""
    draw = random.Random(seed)
    species = [(name, family) for family, names in FAMILIES.items() for name in names]
    categories = [
        {"id": n, "name": name, "supercategory": family, "keypoints": NAMES} for n, (name, family) in enumerate(species)
    ]
    kinds = [n for n, (name, _) in enumerate(species) for _ in range(COUNTS[name])]
    random.Random(1).shuffle(kinds)
    files: list[dict[str, Any]] = [{"images": [], "annotations": [], "categories": categories} for _ in range(3)]
    for image_id, kind in enumerate(kinds, start=1):
        file = files[image_id % 3]
        file["images"].append({"id": image_id, "file_name": f"{image_id:012d}.jpg"})
        file["annotations"].append(instance(10 * image_id, image_id, kind, draw.choices((0, 1, 2), (2, 1, 4), k=17)))
    return files


def instance(id_: int, image_id: int, kind: int, flags: list[int]) -> dict[str, Any]:
    keypoints = [number for flag in flags for number in (5, 6, flag)]
    return {"id": id_, "image_id": image_id, "category_id": kind, "keypoints": keypoints, "bbox": [0, 0, 9, 9]}


def shuffled(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same in another order of files, images, annotations and categories."""
    draw = random.Random(5)
    changed = [{part: draw.sample(entries, len(entries)) for part, entries in file.items()} for file in files]
    return draw.sample(changed, len(changed))


@pytest.fixture(scope="module")
def drawn() -> list[Animal]:
    return animals(documents())


def all_pairs(given: list[Animal], seed: int = 0) -> dict[Split, list[Pair]]:
    return {split: list(split_pairs(members, split, seed)) for split, members in split_animals(given).items()}


@pytest.fixture(scope="module")
def listed(drawn: list[Animal]) -> dict[Split, list[Pair]]:
    return all_pairs(drawn)


def enough(first: Animal, second: Animal) -> bool:
    return sum(a * b for a, b in zip(first.visibility, second.visibility, strict=True)) >= 3


def test_each_species_is_split_by_the_order_of_its_ids(drawn: list[Animal]) -> None:
    found = split_animals(drawn)
    ids = {
        name: {split: [a.image_id for a in members if a.species == name] for split, members in found.items()}
        for name in COUNTS
    }
    sizes = {name: tuple(len(of[split]) for split in ("train", "val", "test")) for name, of in ids.items()}
    assert sizes == {
        "cow": (40, 20, 30),
        "sheep": (0, 10, 30),
        "dog": (11, 20, 30),
        "fox": (20, 20, 30),
        "wolf": (2, 20, 30),
        "brown bear": (0, 0, 5),
    }
    for of in ids.values():
        order = [*of["train"], *of["val"], *of["test"]]
        assert order == sorted(order)


def test_within_a_species_all_pairs_that_share_enough_are_there(
    drawn: list[Animal], listed: dict[Split, list[Pair]]
) -> None:
    splits: tuple[Split, ...] = ("val", "test")
    for split in splits:
        expected = {
            frozenset((one.file, other.file))
            for one, other in combinations(split_animals(drawn)[split], 2)
            if one.species == other.species and enough(one, other)
        }
        found = [pair for pair in listed[split] if pair.kind == "intra-species"]
        assert {frozenset((pair.source, pair.target)) for pair in found} == expected
        assert len(found) == len(expected)


def test_pairs_are_of_what_they_say_and_share_enough(drawn: list[Animal], listed: dict[Split, list[Pair]]) -> None:
    by_file = {animal.file: animal for animal in drawn}
    for pair in (pair for pairs in listed.values() for pair in pairs):
        source, target = by_file[pair.source], by_file[pair.target]
        assert enough(source, target)
        if pair.kind == "intra-species":
            assert source.species == target.species == pair.of
        elif pair.kind == "cross-species":
            assert source.species != target.species
            assert source.family == target.family == pair.of
        else:
            assert source.family != target.family
            assert pair.of == "all"


def test_pairs_across_are_as_many_as_published(listed: dict[Split, list[Pair]]) -> None:
    of = {split: Counter((pair.kind, pair.of) for pair in pairs) for split, pairs in listed.items()}
    assert of["val"]["cross-species", "Canidae"] == 400
    assert 0 < of["val"]["cross-species", "Bovidae"] <= 200
    assert of["val"]["cross-family", "all"] == 20
    assert of["test"]["cross-species", "Canidae"] == 900
    assert 0 < of["test"]["cross-species", "Bovidae"] <= 900
    assert of["test"]["cross-species", "Ursidae"] == 0
    assert of["test"]["cross-family", "all"] == 3 * 30
    assert {kind for kind, _ in of["train"]} == {"intra-species"}
    assert len({(pair.source, pair.target) for pairs in listed.values() for pair in pairs}) == sum(
        map(len, listed.values())
    )


def test_training_takes_at_most_fifty_pairs_an_image() -> None:
    seen = (1.0,) * 17
    cows = [Animal(n, f"{n}.jpg", "Bovidae", "cow", seen) for n in range(120)]
    found = list(split_pairs(cows, "train", 0))
    assert len(found) == 50 * 120
    assert len({frozenset((pair.source, pair.target)) for pair in found}) == 50 * 120


def test_pairs_go_both_ways(listed: dict[Split, list[Pair]]) -> None:
    forward = sum(pair.source < pair.target for pair in listed["test"])
    assert 0.45 < forward / len(listed["test"]) < 0.55


def test_hidden_points_count_less(drawn: list[Animal]) -> None:
    values = {value for animal in drawn for value in animal.visibility}
    assert values == {0, 0.5, 1}
    hidden = [Animal(n, f"{n}.jpg", "a", "b", (0.5,) * count + (0,) * (17 - count)) for n, count in ((0, 12), (1, 11))]
    assert len(list(split_pairs([hidden[0], hidden[0]], "test", 0))) == 1
    assert list(split_pairs(hidden, "test", 0)) == []


def test_lists_do_not_depend_on_the_order_of_files_and_entries(
    drawn: list[Animal], listed: dict[Split, list[Pair]]
) -> None:
    again = animals(shuffled(documents()))
    assert again == drawn
    assert all_pairs(random.Random(3).sample(again, len(again))) == listed


def test_a_family_more_leaves_the_others_as_they_are(listed: dict[Split, list[Pair]]) -> None:
    files = documents()
    files[0]["categories"] = [*files[0]["categories"], {**files[0]["categories"][0], "id": 9, "name": "lion"}]
    files[0]["categories"][-1]["supercategory"] = "Felidae"
    for image_id in range(9000, 9060):
        files[0]["images"].append({"id": image_id, "file_name": f"{image_id}.jpg"})
        files[0]["annotations"].append(instance(image_id, image_id, 9, [2] * 17))
    more = all_pairs(animals(files))
    for split, pairs in listed.items():
        assert [pair for pair in more[split] if not {len(pair.source), len(pair.target)} & {8}] == pairs
    assert len(more["test"]) > len(listed["test"])


def test_another_seed_draws_other_pairs(drawn: list[Animal], listed: dict[Split, list[Pair]]) -> None:
    assert lines(all_pairs(drawn, seed=1)["test"]) != lines(listed["test"])


def test_of_several_animals_the_one_with_the_lowest_id_counts(drawn: list[Animal]) -> None:
    files = documents()
    files[2]["annotations"].insert(0, instance(10_000, 2, 0, [2] * 17))
    assert animals(files) == drawn
    files[2]["annotations"].append(instance(1, 2, 0, [2] * 17))
    assert next(animal for animal in animals(files) if animal.image_id == 2).visibility == (1,) * 17


def test_excluded_images_and_bare_animals_are_left_out(drawn: list[Animal]) -> None:
    files = documents()
    files[0]["annotations"][0]["keypoints"] = [5, 6, 2, 5, 6, 1] + [0] * 45
    bare = files[0]["annotations"][0]["image_id"]
    kept = animals(files, excluded("000000000001\n2\n\n"))
    assert {animal.image_id for animal in drawn} - {animal.image_id for animal in kept} == {1, 2, bare}


def test_files_of_something_else_are_refused() -> None:
    files = documents()
    files[0]["categories"] = [{**entry, "keypoints": NAMES[::-1]} for entry in files[0]["categories"]]
    with pytest.raises(ValueError, match="has not the 17 keypoints of AP-10K"):
        animals(files)
    files = documents()
    files[1]["annotations"][4]["id"] = "x"
    with pytest.raises(ValueError, match="annotations/4: ids 'x'"):
        animals(files)


def test_the_command_writes_the_lists_and_what_they_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], listed: dict[Split, list[Pair]]
) -> None:
    paths = []
    for n, file in enumerate(documents()):
        paths.append(tmp_path / f"{n}.json")
        paths[-1].write_text(json.dumps(file))
    monkeypatch.setattr(sys, "argv", ["ap10k_pairs", *map(str, paths), "--out", str(tmp_path / "lists")])
    main()
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])["splits"]
    for split, pairs in listed.items():
        content = (tmp_path / "lists" / f"{split}.jsonl").read_bytes()
        assert content == lines(pairs)
        assert summary[split]["sha256"] == hashlib.sha256(content).hexdigest()
        assert summary[split]["pairs"] == len(pairs) == len(content.splitlines())
    assert json.loads(content.splitlines()[0]).keys() == {"kind", "of", "source", "target"}
    assert summary["test"]["cross-family"] == 90
