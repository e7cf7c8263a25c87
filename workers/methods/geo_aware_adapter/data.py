"""What an adapter learns from: features of pictures, and keypoints on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingSet:
    """N annotated pictures of one or more categories.

    Places are (x, y) in cells, continuous: cell (row i, column j) covers [j, j+1] x [i, i+1]. A training runs on the
    device of `points`; the features may lie elsewhere, such as in the main memory, and are moved as they are needed.

    Attributes:
        blocks: of each block l of features (N, C_l, h_l, w_l), float16 or float32.
        mirrored: the same of the mirrored pictures, extracted from those; None if there are none, then nothing is
            learned from mirrored pictures.
        cells: a side of the grid on which pictures are matched.
        points: (N, K, 2), padded with anything for categories of fewer keypoints.
        visible: (N, K) bool; never of padding.
        sides: (N,), the longer side of the object's box in cells.
        becomes: (N, K) int64, what keypoint k of a picture's category becomes in a mirror; itself if it has no
            partner. None only without `mirrored`.
        categories: (N,) int64; pictures are paired within a category.

    Raises:
        ValueError: shapes that do not fit, places outside the pictures, or a mirror table that does not lead back.
    """

    blocks: tuple[Tensor, ...]
    mirrored: tuple[Tensor, ...] | None
    cells: int
    points: Tensor
    visible: Tensor
    sides: Tensor
    becomes: Tensor | None
    categories: Tensor

    def __post_init__(self) -> None:
        """Check everything that a training relies on."""
        count, keypoints = self.visible.shape
        self._check("points", self.points, (count, keypoints, 2))
        self._check("sides", self.sides, (count,))
        self._check("categories", self.categories, (count,))
        if not self.blocks:
            raise ValueError("a training set needs at least one block of features")
        for number, block in enumerate(self.blocks):
            self._check(f"block {number}", block, (count, *block.shape[1:]))
        self._check_mirror(count, keypoints)
        seen = self.points[self.visible]
        if not bool(((seen >= 0) & (seen <= self.cells)).all()):
            raise ValueError(f"visible keypoints lie outside the {self.cells} cells; mark them as not visible")
        if not bool((self.sides > 0).all()):
            raise ValueError("an object's box has no extent; give boxes with positive sides")

    @property
    def channels(self) -> tuple[int, ...]:
        """Of each block."""
        return tuple(block.shape[1] for block in self.blocks)

    @cached_property
    def pairs(self) -> Tensor:
        """(P, 2) pictures, first < second, of one category, that show at least one keypoint in common; on the CPU."""
        seen, categories = self.visible.cpu().float(), self.categories.cpu()
        common = (seen @ seen.T > 0) & (categories.unsqueeze(0) == categories.unsqueeze(1))
        return common.triu(diagonal=1).nonzero().contiguous()

    def _check_mirror(self, count: int, keypoints: int) -> None:
        if self.mirrored is None:
            return
        if self.becomes is None:
            raise ValueError("mirrored features need `becomes`, what each keypoint becomes in a mirror")
        if [block.shape for block in self.mirrored] != [block.shape for block in self.blocks]:
            raise ValueError("the mirrored features have other shapes than the features; extract both alike")
        self._check("becomes", self.becomes, (count, keypoints))
        if not bool(((self.becomes >= 0) & (self.becomes < keypoints)).all()):
            raise ValueError(f"`becomes` names keypoints outside 0 to {keypoints - 1}")
        back = self.becomes.gather(1, self.becomes)
        if not torch.equal(back, torch.arange(keypoints, device=back.device).expand(count, -1)):
            raise ValueError("mirroring twice does not lead back to the same keypoint; correct `becomes`")

    @staticmethod
    def _check(name: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            raise ValueError(f"{name} is {tuple(tensor.shape)}, not {shape}")
