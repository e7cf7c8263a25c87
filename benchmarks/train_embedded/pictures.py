"""Class-labelled pictures from a folder or a zip archive, one folder a class."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

SIDE_PX = 144
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}


@dataclass(frozen=True)
class LabelledPictures:
    """N square frames, each with a picture in its middle and the picture's mean colour around it.

    Attributes:
        frames: (N, 3, 144, 144), bytes.
        labels: (N,), indices into `classes`.
        extents: (N, 2), half width and half height of the picture in the frame, whose longer side spans [-1, 1].
        classes: names.
    """

    frames: Tensor
    labels: Tensor
    extents: Tensor
    classes: list[str]

    def of_class(self, label: int) -> Tensor:
        """Indices of the pictures of a class."""
        return (self.labels == label).nonzero()[:, 0]


def read_pictures(source: Path) -> LabelledPictures:
    """Read all pictures of a folder or zip archive; a picture's class is the folder it lies in.

    Raises:
        ValueError: there are none.
    """
    frames, labels, extents, known = [], [], [], {}
    for name, data in _files(source):
        with Image.open(io.BytesIO(data)) as opened:
            frame, extent = framed(opened.convert("RGB"), SIDE_PX)
        frames.append(frame)
        extents.append(extent)
        labels.append(known.setdefault(name.parent.name, len(known)))
    if not frames:
        raise ValueError(f"{source} holds no pictures ({', '.join(sorted(SUFFIXES))})")
    stacked = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()
    return LabelledPictures(stacked, torch.tensor(labels), torch.tensor(extents), list(known))


def framed(picture: Image.Image, side_px: int) -> tuple[np.ndarray, tuple[float, float]]:
    """Set a picture into a square of its mean colour: (side, side, 3) bytes, and the half extents of the picture."""
    width, height = picture.size
    longer = max(width, height)
    mean = picture.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0))
    square = Image.new("RGB", (longer, longer), mean)
    square.paste(picture, ((longer - width) // 2, (longer - height) // 2))
    resized = square.resize((side_px, side_px), Image.Resampling.BICUBIC)
    return np.array(resized), (width / longer, height / longer)


def _files(source: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                yield PurePosixPath(path.relative_to(source.parent).as_posix()), path.read_bytes()
        return
    with zipfile.ZipFile(source) as archive:
        for name in sorted(archive.namelist()):
            if PurePosixPath(name).suffix.lower() in SUFFIXES:
                yield PurePosixPath(name), archive.read(name)
