"""The sample set: pictures of one made-up kind of fish whose dense correspondences are known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from workers.evaluation.anatomy import KEYPOINTS, Fields, canonical_fields, sample
from workers.evaluation.backdrop import SCENES, backdrop
from workers.evaluation.compositing import add_object, develop
from workers.evaluation.shapes import OUTLINE, random_warp
from workers.evaluation.styles import PALETTES, random_style
from workers.evaluation.warps import Warp, pixel_centres

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class SyntheticImage:
    """One picture with its truth; coordinates are continuous pixels of this picture.

    Attributes:
        name: says what is on it, without blanks.
        rgb: (H, W, 3) uint8.
        canonical: (H, W, 2) exact canonical coordinates in [0, 1] of each foreground pixel's centre, NaN elsewhere.
        mask: (H, W) pixels whose centre lies on the object.
        keypoints: (K, 2) image points (x, y); NaN without an object.
        visible: (K,) keypoints on the picture.
        bbox: (x0, y0, x1, y1) tight around the object, or None without one.
    """

    name: str
    rgb: npt.NDArray[np.uint8]
    canonical: Float32
    mask: npt.NDArray[np.bool_]
    keypoints: Float32
    visible: npt.NDArray[np.bool_]
    bbox: Box | None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.rgb.shape[1], self.rgb.shape[0]


@dataclass(frozen=True)
class SyntheticSet:
    """Pictures of one category and the warps that tie them to its canonical frame."""

    images: tuple[SyntheticImage, ...]
    warps: tuple[Warp, ...]
    keypoint_names: tuple[str, ...]
    mirrored: tuple[int, ...]
    without_object: tuple[int, ...]

    def to_image(self, index: int, canonical_points: npt.ArrayLike) -> Float64:
        """Canonical points (..., 2) in [0, 1] to pixels (..., 2) of one picture."""
        return self.warps[index].to_image(canonical_points)

    def to_canonical(self, index: int, points: npt.ArrayLike) -> Float64:
        """Pixels (..., 2) of one picture to canonical points (..., 2), on the object or off it."""
        return self.warps[index].to_canonical(points)

    def correspondence(self, source: int, target: int) -> Float32:
        """The exact map (H, W, 2) from the pixel centres of `source` to pixels of `target`; NaN where none."""
        image = self.images[source]
        points = np.full((*image.mask.shape, 2), np.nan, dtype=np.float32)
        if target in self.without_object:
            return points
        found = self.to_image(target, self.to_canonical(source, pixel_centres(*image.size)[image.mask]))
        width, height = self.images[target].size
        inside = ((found >= 0) & (found <= (width, height))).all(axis=-1, keepdims=True)
        points[image.mask] = np.where(inside, found, np.nan)
        return points


def sample_set(
    seed: int = 7, count: int = 12, *, mirrored: Sequence[int] = (), without_object: Sequence[int] = ()
) -> SyntheticSet:
    """Draw a set of pictures; the same arguments give the same bytes.

    Every picture depends on `seed` and its index alone, so the options change no other picture.

    Args:
        mirrored: pictures to mirror left to right, background and all.
        without_object: pictures that show the background only.

    Raises:
        ValueError: `count` below 1 or an index outside the set.
    """
    if count < 1:
        raise ValueError(f"count {count} is too small; ask for at least 1 picture")
    for index in (*mirrored, *without_object):
        if not 0 <= index < count:
            raise ValueError(f"picture index {index} is outside the set; use 0 to {count - 1}")
    order = np.random.default_rng([seed, 0]).permutation(max(len(PALETTES), len(SCENES)))
    drawn = [
        _draw_picture(seed, i, int(order[i % len(order)]), mirror=i in mirrored, absent=i in without_object)
        for i in range(count)
    ]
    return SyntheticSet(
        images=tuple(image for image, _ in drawn),
        warps=tuple(warp for _, warp in drawn),
        keypoint_names=tuple(KEYPOINTS),
        mirrored=tuple(sorted(set(mirrored))),
        without_object=tuple(sorted(set(without_object))),
    )


def _draw_picture(seed: int, index: int, look: int, *, mirror: bool, absent: bool) -> tuple[SyntheticImage, Warp]:
    shape_rng, paint_rng, scene_rng = (np.random.default_rng([seed, index, part]) for part in (1, 2, 3))
    width, height = int(shape_rng.integers(240, 261)) * 2, int(shape_rng.integers(196, 221)) * 2
    warp = random_warp(width, height, shape_rng)
    fields = canonical_fields()
    canvas = backdrop(width, height, scene=SCENES[look % len(SCENES)], rng=scene_rng)
    if not absent:
        style = random_style(PALETTES[look % len(PALETTES)], paint_rng)
        add_object(canvas, warp, fields=fields, style=style, rng=paint_rng)
    rgb = develop(canvas, scene_rng)
    if mirror:
        rgb = rgb[:, ::-1].copy()
        warp = replace(warp, pose=replace(warp.pose, mirror_width_px=float(width)))
    return _with_truth(f"{index:02d}_reef_fish", rgb, warp, fields, absent=absent), warp


def _with_truth(name: str, rgb: npt.NDArray[np.uint8], warp: Warp, fields: Fields, *, absent: bool) -> SyntheticImage:
    height, width = rgb.shape[:2]
    canonical = warp.to_canonical(pixel_centres(width, height))
    mask = (sample(fields.silhouette, canonical) < 0) & (not absent)
    keypoints = np.full((len(KEYPOINTS), 2), np.nan) if absent else warp.to_image(list(KEYPOINTS.values()))
    visible = np.all((keypoints >= 0) & (keypoints <= (width, height)), axis=1, keepdims=True)[:, 0]
    outline = warp.to_image(OUTLINE)
    low, high = outline.min(axis=0), outline.max(axis=0)
    bbox = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    return SyntheticImage(
        name=name,
        rgb=rgb,
        canonical=np.where(mask[..., None], canonical, np.nan).astype(np.float32),
        mask=mask,
        keypoints=keypoints.astype(np.float32),
        visible=visible,
        bbox=None if absent else bbox,
    )
