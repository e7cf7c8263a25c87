"""How well features match by themselves: PCK of plain nearest neighbours between photographs with known keypoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from benchmarks.photographs import PhotographSet, load

FRAME_PX = 256
ALPHA = 0.1
GREY = (128, 128, 128)

Describe = Callable[[Tensor], Tensor]


class KeypointSet:
    """Letterboxed photographs and their keypoints.

    Attributes:
        name: of the set's folder.
        frames: (N, 3, 256, 256) in [0, 1].
        points: (N, K, 2) in pixels of the frame.
        visible: (N, K).
        sides_px: (N,), longer side of the object's box in the frame.
    """

    def __init__(self, photographs: PhotographSet) -> None:
        """Put the photographs into frames, without any crop or mask."""
        framed = [_letterboxed(image.rgb) for image in photographs.images]
        self.name = photographs.name
        self.frames = torch.stack([frame for frame, _, _ in framed])
        keypoints = torch.tensor(np.stack(photographs.keypoints), dtype=torch.float32)
        scales = torch.tensor([scale for _, scale, _ in framed])
        offsets = torch.tensor([offset for _, _, offset in framed], dtype=torch.float32)
        self.points = (keypoints[..., :2] + offsets[:, None]) * scales[:, None, None]
        self.visible = keypoints[..., 2] > 0
        boxes = torch.tensor(np.stack(photographs.boxes), dtype=torch.float32)
        self.sides_px = (boxes[:, 2:] - boxes[:, :2]).amax(dim=1) * scales


def read_keypoint_sets(folder: Path, names: list[str]) -> list[KeypointSet]:
    """Read sets in the layout of `benchmarks.photographs`; all with keypoints and boxes if none is named."""
    folders = [folder / name for name in names] or sorted(path.parent for path in folder.glob("*/annotations.json"))
    loaded = [load(path) for path in folders]
    return [KeypointSet(photographs) for photographs in loaded if photographs is not None]


def nearest_neighbour_pck(keypoints: KeypointSet, features: Tensor) -> float:
    """PCK@0.1 in [0, 1] over all ordered pairs: every keypoint goes to the centre of the most similar cell.

    Args:
        keypoints: N images.
        features: (N, C, h, w) of their frames.
    """
    features = normalize(features.float(), dim=1)
    height, width = features.shape[-2:]
    at = (keypoints.points / FRAME_PX * 2 - 1)[:, None]
    queries = grid_sample(features, at, align_corners=False, padding_mode="border")[:, :, 0]
    right, counted = 0, 0
    for source in range(len(features)):
        nearest = torch.einsum("ck,ncm->nkm", queries[source], features.flatten(2)).argmax(dim=2)
        cells = torch.stack([nearest % width + 0.5, nearest // width + 0.5], dim=-1)
        found = cells * FRAME_PX / torch.tensor([width, height])
        both = keypoints.visible & keypoints.visible[source]
        both[source] = False
        errors = (found - keypoints.points).norm(dim=-1) / keypoints.sides_px[:, None]
        right += int(((errors <= ALPHA) & both).sum())
        counted += int(both.sum())
    return right / max(1, counted)


def identity_pck(keypoints: KeypointSet) -> float:
    """PCK@0.1 of copying every keypoint to the same place of the frame."""
    errors = (keypoints.points[:, None] - keypoints.points[None]).norm(dim=-1) / keypoints.sides_px[None, :, None]
    both = keypoints.visible[:, None] & keypoints.visible[None]
    both[torch.arange(len(both)), torch.arange(len(both))] = False
    return float((errors[both] <= ALPHA).float().mean())


def scores(sets: list[KeypointSet], describe: Describe) -> dict[str, float]:
    """PCK@0.1 of every set, by name."""
    return {keypoints.name: nearest_neighbour_pck(keypoints, describe(keypoints.frames)) for keypoints in sets}


def _letterboxed(rgb: np.ndarray) -> tuple[Tensor, float, tuple[int, int]]:
    """The frame (3, 256, 256), pixels of it for one of the picture, and the picture's corner in the square."""
    picture = Image.fromarray(rgb)
    longer = max(picture.size)
    corner = ((longer - picture.width) // 2, (longer - picture.height) // 2)
    square = Image.new("RGB", (longer, longer), GREY)
    square.paste(picture, corner)
    frame = np.array(square.resize((FRAME_PX, FRAME_PX), Image.Resampling.BICUBIC))
    return torch.from_numpy(frame).permute(2, 0, 1).float() / 255, FRAME_PX / longer, corner
