"""Pictures of any shape in the square working frame, and coordinates back in uploaded pixels.

A picture's longer side is scaled to the frame's, the gap beside the shorter side is filled by repeating the picture's
edge, so that no false contour appears at the border.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from alignment.sampling import ImageSize
from workers.geometry.coordinates import identity_grid, normalised_to_pixels, pixels_to_normalised, sample
from workers.geometry.letterbox import Letterbox


@dataclass(frozen=True)
class WorkingFrames:
    """N pictures, letterboxed.

    Attributes:
        pictures: (N, 3, S, S) RGB in [0, 1].
        boxes: where each uploaded picture lies in its frame.
    """

    pictures: Tensor
    boxes: tuple[Letterbox, ...]

    @property
    def size(self) -> int:
        """Side S of the frames in pixels."""
        return int(self.pictures.shape[-1])

    @property
    def image_sizes(self) -> tuple[ImageSize, ...]:
        """Width and height of the uploaded pictures."""
        return tuple(ImageSize(box.width, box.height) for box in self.boxes)

    def mirrored(self) -> WorkingFrames:
        """The same frames turned left to right; `boxes` still speak of the pictures as uploaded."""
        return WorkingFrames(self.pictures.flip(-1), self.boxes)

    def of(self, indices: Sequence[int]) -> WorkingFrames:
        """Some of the frames."""
        return WorkingFrames(self.pictures[list(indices)], tuple(self.boxes[index] for index in indices))

    def valid(self, cells: int) -> Tensor:
        """Share (N, 1, cells, cells) of each cell of the frame that the picture covers, in [0, 1]."""
        covered = torch.zeros(len(self.boxes), 1, self.size, self.size, device=self.pictures.device)
        for index, box in enumerate(self.boxes):
            rows, columns = inner_slices(box)
            covered[index, 0, rows, columns] = 1
        return adaptive_avg_pool2d(covered, cells)


def letterboxed(pictures: Sequence[npt.NDArray[np.uint8]], size: int, device: torch.device | str) -> WorkingFrames:
    """Fit uint8 pictures (H, W, 3) of any sizes into frames of `size` pixels a side."""
    boxes = tuple(Letterbox(rgb.shape[1], rgb.shape[0], size) for rgb in pictures)
    frames = [_fitted(rgb, box) for rgb, box in zip(pictures, boxes, strict=True)]
    return WorkingFrames(torch.stack(frames).to(device), boxes)


def inner_slices(box: Letterbox) -> tuple[slice, slice]:
    """Rows and columns of the frame that show the picture."""
    left, top = box.offset
    return slice(top, top + box.inner_height), slice(left, left + box.inner_width)


def frame_to_upload(points: Tensor, box: Letterbox) -> Tensor:
    """Frame points (..., 2) in [-1, 1] to pixels of the uploaded picture."""
    return box.to_picture(normalised_to_pixels(points, width=box.size, height=box.size))


def upload_to_frame(points: Tensor, box: Letterbox) -> Tensor:
    """Inverse of `frame_to_upload`."""
    return pixels_to_normalised(box.to_frame(points), width=box.size, height=box.size)


def inner_map(maps: Tensor, box: Letterbox) -> Tensor:
    """Read a map (C, h, w) that covers the frame on equal cells of about the same size that cover just the picture.

    Returns:
        (C, rows, columns): no padding, every cell's centre inside the picture.
    """
    rows = max(1, round(box.inner_height * maps.shape[1] / box.size))
    columns = max(1, round(box.inner_width * maps.shape[2] / box.size))
    cells = identity_grid(rows, columns, device=maps.device)
    places = upload_to_frame(normalised_to_pixels(cells, width=box.width, height=box.height), box)
    return sample(maps.unsqueeze(0), places.unsqueeze(0))[0]


def _fitted(rgb: npt.NDArray[np.uint8], box: Letterbox) -> Tensor:
    scaled = Image.fromarray(rgb).resize(
        (box.inner_width, box.inner_height), Image.Resampling.BICUBIC, reducing_gap=3.0
    )
    inner = torch.from_numpy(np.array(scaled)).permute(2, 0, 1).float().div(255)
    left, top = box.offset
    right, bottom = box.size - left - box.inner_width, box.size - top - box.inner_height
    return pad(inner.unsqueeze(0), (left, right, top, bottom), mode="replicate")[0]
