"""Pairs of AP-10K to learn and to score correspondence on, as Telling Left from Right (arXiv 2311.17034) makes them.

Run `python -m benchmarks.ap10k_pairs FILE [FILE ...] --out FOLDER`. The files are the COCO files of AP-10K (those of
split 1 together hold all images). `--exclude` is a text file of image ids, one a line, to be left out: pictures with
several animals. Written are `train.jsonl`, `val.jsonl` and `test.jsonl`, a pair a line: `kind`, `of` (the species, the
family or `all`), and the file names `source` and `target`. The paper's lists follow the order of files on a disk; these
follow the ids and `--seed`, so they come out alike everywhere, and figures differ a little from the paper's.
The last line is one JSON object with the counts and the SHA-256 of each file.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, combinations
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import JsonValue
from rich.console import Console
from rich.table import Table

from api_schemas.annotations.coco_file import CocoCategory, CocoInstance, read_coco
from api_schemas.annotations.model import Split
from api_schemas.keypoints.tables import AP10K, is_ap10k, named_schema

Kind = Literal["intra-species", "cross-species", "cross-family"]
KINDS: tuple[Kind, ...] = ("intra-species", "cross-species", "cross-family")
SPLITS: tuple[Split, ...] = ("train", "val", "test")
LEAST_KEYPOINTS = 3
TEST_IMAGES, VAL_IMAGES = 30, 20
TRAIN_PAIRS_PER_IMAGE = 50
CROSS_SPECIES_PAIRS: dict[Split, int] = {"val": 400, "test": 900}
CROSS_FAMILY_PAIRS: dict[Split, int] = {"val": 20, "test": 30}


@dataclass(frozen=True)
class Animal:
    """The animal of an image."""

    image_id: int
    file: str
    family: str
    species: str
    visibility: tuple[float, ...]
    """Of each keypoint: 0 not labelled, 0.5 hidden, 1 visible."""


@dataclass(frozen=True)
class Pair:
    """Two images, by file name."""

    kind: Kind
    of: str
    """The species, the family, or `all`."""
    source: str
    target: str


def main() -> None:
    """Write the lists and print what is in them."""
    arguments = _arguments()
    documents = [json.loads(path.read_text(encoding="utf-8")) for path in arguments.files]
    left_out = set() if arguments.exclude is None else excluded(arguments.exclude.read_text(encoding="utf-8"))
    found = split_animals(animals(documents, left_out))
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, JsonValue]] = {}
    for split in SPLITS:
        pairs = list(split_pairs(found[split], split, arguments.seed))
        content = lines(pairs)
        (arguments.out / f"{split}.jsonl").write_bytes(content)
        counts = Counter(pair.kind for pair in pairs)
        rows[split] = {
            "images": len(found[split]),
            **{kind: counts[kind] for kind in KINDS},
            "pairs": len(pairs),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    Console(width=150).print(as_table(rows))
    print(json.dumps({"benchmark": "ap10k_pairs", "seed": arguments.seed, "splits": rows}))  # noqa: T201


def excluded(text: str) -> set[int]:
    """Read ids of images, one a line; leading zeros do not matter."""
    return {int(line) for line in text.split()}


def animals(documents: Iterable[Mapping[str, JsonValue]], left_out: Iterable[int] = ()) -> list[Animal]:
    """Return the animals that count, by id of their images.

    Of each image the instance with the lowest id counts; images in `left_out`, and animals with fewer than three
    labelled keypoints, do not.

    Raises:
        ValueError: a document is not as COCO has it, an id is no number, or a category has no family or other
            keypoints than AP-10K's.
    """
    first: dict[int, tuple[int, Animal]] = {}
    for document in documents:
        file = read_coco(document)
        for index, instance in enumerate(file.instances):
            category = file.categories[instance.category_id]
            number, image_id = _numbers(instance, index)
            animal = Animal(
                image_id,
                file.images[instance.image_id].name,
                _family(category),
                category.name,
                tuple(flag / 2 for flag in instance.visibility),
            )
            if image_id not in first or number < first[image_id][0]:
                first[image_id] = (number, animal)
    omitted = set(left_out)
    return [
        animal
        for image_id, (_, animal) in sorted(first.items())
        if image_id not in omitted and sum(value > 0 for value in animal.visibility) >= LEAST_KEYPOINTS
    ]


def split_animals(given: Sequence[Animal]) -> dict[Split, list[Animal]]:
    """Split each species in order: the last 30 (or all) for test, the 20 before for validation, the rest to learn."""
    found: dict[Split, list[Animal]] = {split: [] for split in SPLITS}
    for members in (members for species in by_family(given).values() for members in species.values()):
        tested = max(len(members) - TEST_IMAGES, 0)
        learnt = max(tested - VAL_IMAGES, 0)
        found["train"] += members[:learnt]
        found["val"] += members[learnt:tested]
        found["test"] += members[tested:]
    return found


def by_family(given: Sequence[Animal]) -> dict[str, dict[str, list[Animal]]]:
    """Sort animals into families and these into species, both by name, and these by id."""
    found: dict[str, dict[str, list[Animal]]] = {}
    for animal in sorted(given, key=lambda animal: (animal.family, animal.species, animal.image_id)):
        found.setdefault(animal.family, {}).setdefault(animal.species, []).append(animal)
    return found


def split_pairs(given: Sequence[Animal], split: Split, seed: int) -> Iterator[Pair]:
    """Draw the pairs of a split; which way a pair goes is drawn too.

    Only pairs count whose products of visibilities add up to 3 or more. Within a species: all, but to learn from at
    most 50 an image. Across the species of a family, and across each two families: some, for validation and test only.
    """
    families = by_family(given)
    for family, species in families.items():
        for name, members in species.items():
            limit = TRAIN_PAIRS_PER_IMAGE * len(members) if split == "train" else None
            drawn = _drawn(_matching(members, members, within=True), limit, f"{seed}/{split}/{family}/{name}")
            yield from (Pair("intra-species", name, *files) for files in drawn)
    if split == "train":
        return
    for family, species in families.items():
        found = [pair for one, other in combinations(species.values(), 2) for pair in _matching(one, other)]
        drawn = _drawn(found, CROSS_SPECIES_PAIRS[split], f"{seed}/{split}/{family}")
        yield from (Pair("cross-species", family, *files) for files in drawn)
    for one, other in combinations(families, 2):
        first, second = ([*chain.from_iterable(families[family].values())] for family in (one, other))
        drawn = _drawn(_matching(first, second), CROSS_FAMILY_PAIRS[split], f"{seed}/{split}/{one} and {other}")
        yield from (Pair("cross-family", "all", *files) for files in drawn)


def lines(pairs: Iterable[Pair]) -> bytes:
    """Write pairs as JSON, one a line."""
    return "".join(json.dumps(asdict(pair)) + "\n" for pair in pairs).encode()


def as_table(rows: Mapping[str, Mapping[str, JsonValue]]) -> Table:
    """The counts for people."""
    columns = list(next(iter(rows.values())))
    table = Table("split", *columns, title="AP-10K pairs")
    for split, row in rows.items():
        table.add_row(split, *(str(row[column]) for column in columns))
    return table


def _matching(first: Sequence[Animal], second: Sequence[Animal], *, within: bool = False) -> list[tuple[str, str]]:
    """Files of each two animals that show enough of the same keypoints; `within`: of each two of one list."""
    shared = _visibility(first) @ _visibility(second).T >= LEAST_KEYPOINTS
    if within:
        shared = np.triu(shared, k=1)
    return [(first[i].file, second[j].file) for i, j in np.argwhere(shared)]


def _visibility(given: Sequence[Animal]) -> npt.NDArray[np.float64]:
    """(animals, keypoints)."""
    return np.array([animal.visibility for animal in given])


def _drawn(found: Sequence[tuple[str, str]], limit: int | None, seed: str) -> Iterator[tuple[str, str]]:
    """Draw at most `limit` pairs, in their order, and turn about half of them round."""
    draw = random.Random(seed)
    kept: Sequence[int] = range(len(found))
    if limit is not None and limit < len(found):
        kept = sorted(draw.sample(kept, limit))
    for index in kept:
        source, target = found[index]
        yield (source, target) if draw.random() < 0.5 else (target, source)


def _numbers(instance: CocoInstance, index: int) -> tuple[int, int]:
    """Ids of an instance and of its image, which decide the order."""
    if not isinstance(instance.id, int) or not isinstance(instance.image_id, int):
        raise ValueError(
            f"annotations/{index}: ids {instance.id!r} and {instance.image_id!r} (image) must be whole numbers"
        )
    return instance.id, instance.image_id


def _family(category: CocoCategory) -> str:
    if not is_ap10k(category.keypoints):
        raise ValueError(f"category {category.name!r} has not the {len(named_schema(AP10K).names)} keypoints of AP-10K")
    if category.supercategory is None:
        raise ValueError(f"category {category.name!r} has no supercategory; AP-10K gives the family there")
    return category.supercategory


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Write the correspondence pairs of AP-10K.")
    parser.add_argument("files", nargs="+", type=Path, help="COCO files of AP-10K")
    parser.add_argument("--out", type=Path, required=True, help="folder for train.jsonl, val.jsonl and test.jsonl")
    parser.add_argument("--exclude", type=Path, help="text file of image ids to leave out, one a line")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
