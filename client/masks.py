"""Masks of pictures: which file belongs to which picture, and their ids at the service."""

import re
from collections.abc import Sequence
from pathlib import Path

from api_schemas.base import ULID_PATTERN
from api_schemas.images import Image
from client.transport import Transport
from client.uploads import PICTURE_SUFFIXES, upload_pictures

Mask = Image | Path | str
MASK_SUFFIX = "_mask"
_IMAGE_ID = re.compile(rf"img_{ULID_PATTERN}")


def match_masks(pictures: Sequence[Path], folder: Path) -> list[Path]:
    """Find the mask of each picture in a folder: the file of the same stem, or of that stem and `_mask`.

    Raises:
        FileNotFoundError: the folder does not exist, or lacks masks; names the pictures.
        ValueError: several files could be a picture's mask, or its mask would be one of the pictures.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; give the folder in which the masks lie")
    by_stem: dict[str, list[Path]] = {}
    for entry in sorted(folder.iterdir()):
        if entry.suffix.lower() in PICTURE_SUFFIXES:
            by_stem.setdefault(entry.stem, []).append(entry)
    found = {picture: _candidates(picture, by_stem) for picture in pictures}
    missing = [picture.name for picture, candidates in found.items() if not candidates]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no mask for {', '.join(missing)}; a mask is named like its picture, with or without "
            f"{MASK_SUFFIX!r} after the stem, and every picture needs one"
        )
    return [_only(picture, found[picture], pictures) for picture in pictures]


def check_mask_count(masks: Sequence[Mask], images: int) -> None:
    """Refuse masks that are not one per image, before anything is uploaded.

    Raises:
        ValueError: the numbers differ.
    """
    if len(masks) != images:
        raise ValueError(f"there are {images} images and {len(masks)} masks; give one per image, in the same order")


def mask_ids(transport: Transport, masks: Sequence[Mask]) -> list[str]:
    """Return the ids of masks in order; files are uploaded, images and their ids are taken as they are.

    Raises:
        ProblemError: the service refused a file; its message names the file.
        FileNotFoundError: a path does not exist.
    """
    paths = [Path(mask) for mask in masks if not isinstance(mask, Image) and _known_id(mask) is None]
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{', '.join(missing)}: no such file; give the masks one by one, in order")
    uploaded = iter(upload_pictures(transport, paths))
    return [_known_id(mask) or next(uploaded).id for mask in masks]


def _known_id(mask: Mask) -> str | None:
    """Return the id of an uploaded image; None for a path."""
    if isinstance(mask, Image):
        return mask.id
    return mask if isinstance(mask, str) and _IMAGE_ID.fullmatch(mask) else None


def _candidates(picture: Path, by_stem: dict[str, list[Path]]) -> list[Path]:
    return [*by_stem.get(picture.stem, []), *by_stem.get(picture.stem + MASK_SUFFIX, [])]


def _only(picture: Path, candidates: Sequence[Path], pictures: Sequence[Path]) -> Path:
    if len(candidates) > 1:
        names = " or ".join(candidate.name for candidate in candidates)
        raise ValueError(f"the mask of {picture.name} may be {names} in {candidates[0].parent}; keep one of them")
    mask = candidates[0]
    if any(mask.samefile(other) for other in pictures):
        raise ValueError(
            f"{mask} would be the mask of {picture} and is a picture itself; keep masks in their own folder"
        )
    return mask
