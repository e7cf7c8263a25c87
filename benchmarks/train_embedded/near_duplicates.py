"""Whether photographs, or crops of them, are among the training pictures.

Run `python -m benchmarks.train_embedded.near_duplicates PICTURES FOLDER [--out SHEET.png]`. FOLDER holds pictures, or
sets of them with `annotations.json`; where this names a box, the picture is also looked for by what is in the box.
Thumbnails are correlated, as they are and mirrored. The most alike pairs are printed and, with `--out`, drawn side by
side, for the eye to judge. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from benchmarks.train_embedded.pictures import SUFFIXES, LabelledPictures, framed, read_pictures

THUMBNAIL = 24
SHOWN = 12
ALIKE = 0.95
"""Correlation from which two pictures are taken for the same."""


@dataclass(frozen=True)
class Pair:
    """A photograph and the training picture most like it."""

    photograph: str
    part: str
    training_class: str
    training_index: int
    correlation: float


def main() -> None:
    """Look for every photograph of the folder."""
    arguments = _arguments()
    pictures = read_pictures(arguments.pictures)
    pairs = closest(pictures, list(photographs_in(arguments.photographs)))
    for pair in pairs[:SHOWN]:
        print(f"{pair.correlation:.3f}  {pair.photograph} ({pair.part})  {pair.training_class} {pair.training_index}")  # noqa: T201
    if arguments.out:
        _sheet(arguments.photographs, pictures, pairs[:SHOWN]).save(arguments.out)
    alike = [asdict(pair) for pair in pairs if pair.correlation >= ALIKE]
    print(json.dumps({"benchmark": "near_duplicates", "looked_for": len(pairs), "alike": alike}))  # noqa: T201


def photographs_in(folder: Path) -> Iterator[tuple[str, str, Image.Image]]:
    """Every picture below a folder, whole, and by the box of its annotation."""
    boxes = dict(_boxes(folder))
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES):
        if path.parent.name == "masks":
            continue
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        name = path.relative_to(folder).as_posix()
        yield name, "whole", picture
        if path in boxes:
            yield name, "box", picture.crop(boxes[path])


def closest(pictures: LabelledPictures, photographs: list[tuple[str, str, Image.Image]]) -> list[Pair]:
    """For each photograph the most correlated training picture; the most alike pairs first."""
    known = _thumbnails(pictures.frames)
    pairs = []
    for name, part, photograph in photographs:
        frame = torch.from_numpy(framed(photograph, pictures.frames.shape[-1])[0]).permute(2, 0, 1)
        wanted = _thumbnails(torch.stack([frame, frame.flip(-1)]))
        correlation, index = (wanted @ known.T).amax(dim=0).max(dim=0)
        label = pictures.classes[int(pictures.labels[index])]
        pairs.append(Pair(name, part, label, int(index), round(float(correlation), 4)))
    return sorted(pairs, key=lambda pair: -pair.correlation)


def _thumbnails(frames: Tensor) -> Tensor:
    """(N, 3 * 24 * 24), of mean 0 and length 1, from frames (N, 3, S, S) in bytes."""
    small = torch.cat([adaptive_avg_pool2d(some.float(), THUMBNAIL) for some in frames.split(256)]).flatten(1)
    centred = small - small.mean(dim=1, keepdim=True)
    return centred / centred.norm(dim=1, keepdim=True).clamp(min=1e-6)


def _boxes(folder: Path) -> Iterator[tuple[Path, tuple[float, float, float, float]]]:
    for listing in folder.rglob("annotations.json"):
        for entry in json.loads(listing.read_text(encoding="utf-8"))["images"]:
            if entry.get("bbox"):
                yield listing.parent / entry["file"], tuple(entry["bbox"])


def _sheet(folder: Path, pictures: LabelledPictures, pairs: list[Pair]) -> Image.Image:
    side = pictures.frames.shape[-1]
    sheet = Image.new("RGB", (side * len(pairs), 2 * side))
    for column, pair in enumerate(pairs):
        with Image.open(folder / pair.photograph) as photograph:
            sheet.paste(Image.fromarray(framed(photograph.convert("RGB"), side)[0]), (column * side, 0))
        known = pictures.frames[pair.training_index].permute(1, 2, 0).numpy()
        sheet.paste(Image.fromarray(known), (column * side, side))
    return sheet


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Look for photographs among the training pictures.")
    parser.add_argument("pictures", type=Path, help="folder or zip archive of the training")
    parser.add_argument("photographs", type=Path, help="folder of the photographs to look for")
    parser.add_argument("--out", type=Path, help="picture file for the most alike pairs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
