"""Small analytic test sets: one flat template, some poses and smooth deformations, hand-made features.

Everything is given by closed formulas, so any alignment of a set can be measured to a fraction of a pixel. See
`workers.evaluation.template` for how an image shows its template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from workers.evaluation.template import Template
from workers.evaluation.template_beetle import BEETLE
from workers.evaluation.template_creature import CREATURE

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

TEMPLATES = {"creature": CREATURE, "beetle": BEETLE}
COUNT = CREATURE.count
TEMPLATE_KEYPOINTS: Float64 = CREATURE.points
IMAGE_SIZE = 256
FEATURE_SIZE = 64
_TEMPLATE_SIZE = 512


@dataclass(frozen=True)
class TemplateSet:
    """A rendered set of N pictures with its truth. Image coordinates are continuous pixels of 256 x 256 images.

    Attributes:
        template: what is shown.
        images: (N, 3, 256, 256) RGB in [0, 1].
        features: (N, 32, 64, 64) area-averaged features, noise included.
        masks: (N, 1, 64, 64) covered fraction of each feature cell in [0, 1].
        image_masks: (N, 1, 256, 256) foreground, 0 or 1.
        keypoints: (N, K, 2) image points (x, y); NaN in the image without the object.
        visible: (N, K) False in the image without the object.
        amplitude: of the non-rigid part, in template units.
        mirrored: indices of the pictures that are mirrored left to right.
        without_object: index of the picture that shows only background, or None.
    """

    template: Template
    images: Float32
    features: Float32
    masks: Float32
    image_masks: Float32
    keypoints: Float32
    visible: npt.NDArray[np.bool_]
    amplitude: float
    mirrored: tuple[int, ...]
    without_object: int | None

    def to_image(self, index: int, template_points: npt.ArrayLike) -> Float64:
        """Template points (..., 2) in [-1, 1] to image `index`, (..., 2) in pixels."""
        points = np.asarray(template_points, dtype=np.float64)
        normalised = self.template.to_image(index, points, self.amplitude)
        pixels: Float64 = (normalised + 1.0) * (IMAGE_SIZE / 2)
        return self._mirror(index, pixels)

    def to_template(self, index: int, image_points: npt.ArrayLike) -> Float64:
        """Points (..., 2) of image `index` in pixels to template points (..., 2); inverse of `to_image`."""
        pixels = self._mirror(index, np.asarray(image_points, dtype=np.float64))
        return self.template.to_template(index, pixels * (2 / IMAGE_SIZE) - 1.0, self.amplitude)

    def transfer(self, source: int, target: int, points: npt.ArrayLike) -> Float64:
        """Points (..., 2) of image `source` to where image `target` shows the same template point."""
        return self.to_image(target, self.to_template(source, points))

    def _mirror(self, index: int, pixels: Float64) -> Float64:
        if index not in self.mirrored:
            return pixels
        flipped: Float64 = pixels * np.array([-1.0, 1.0]) + np.array([float(IMAGE_SIZE), 0.0])
        return flipped


def template_set(
    template: str = "creature",
    *,
    amplitude: float = 0.05,
    feature_noise: float = 0.0,
    seed: int = 0,
    mirrored: Sequence[int] = (),
    without_object: int | None = None,
) -> TemplateSet:
    """Render the images of a template, their features, masks and keypoints.

    Args:
        template: `creature`, eight pictures, on which methods may be tuned, or `beetle`, ten, on which they may not.
        amplitude: of the non-rigid displacement, template units; up to 0.25 it does not fold.
        feature_noise: standard deviation of Gaussian noise on `features`, in units of the features' own.
        seed: of that noise.
        mirrored: images to mirror left to right, with features, masks and keypoints.
        without_object: an image in which only the background is drawn.

    Raises:
        ValueError: an unknown template, an index outside the set, a negative noise or an amplitude that folds the
            template.
    """
    if template not in TEMPLATES:
        raise ValueError(f"template {template!r} is not known; use {' or '.join(TEMPLATES)}")
    drawn = TEMPLATES[template]
    _check_options(drawn.count, amplitude, feature_noise, mirrored, without_object)
    rendered = [_render(drawn, i, amplitude, absent=i == without_object) for i in range(drawn.count)]
    images, features, image_masks = (np.stack(arrays) for arrays in zip(*rendered, strict=True))
    for i in set(mirrored):
        for array in (images, features, image_masks):
            array[i] = array[i, ..., ::-1].copy()
    noise = np.random.default_rng(seed).standard_normal(features.shape)
    features = features + feature_noise * features.std() * noise
    visible = np.ones((drawn.count, len(drawn.keypoints)), dtype=bool)
    if without_object is not None:
        visible[without_object] = False
    keypoints = np.full((*visible.shape, 2), np.nan, dtype=np.float32)
    result = TemplateSet(
        template=drawn,
        images=images.astype(np.float32),
        features=features.astype(np.float32),
        masks=_area_average(image_masks).astype(np.float32),
        image_masks=image_masks.astype(np.float32),
        keypoints=keypoints,
        visible=visible,
        amplitude=amplitude,
        mirrored=tuple(sorted(set(mirrored))),
        without_object=without_object,
    )
    for i in range(drawn.count):
        if i != without_object:
            keypoints[i] = result.to_image(i, drawn.points)
    return result


def _check_options(
    count: int, amplitude: float, feature_noise: float, mirrored: Sequence[int], without_object: int | None
) -> None:
    chosen = [*mirrored] if without_object is None else [*mirrored, without_object]
    for index in chosen:
        if not 0 <= index < count:
            raise ValueError(f"image index {index} is outside the set; use 0 to {count - 1}")
    if not 0.0 <= amplitude <= 0.25:
        raise ValueError(f"amplitude {amplitude} folds the template; use 0 to 0.25")
    if feature_noise < 0.0:
        raise ValueError(f"feature_noise {feature_noise} is negative; use 0 or more")


def _pixel_centres(size: int) -> Float64:
    axis = (2 * np.arange(size) + 1) / size - 1
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def _sample(grids: Float64, points: Float64) -> Float64:
    """Read (C, n, n) grids over [-1, 1]^2 at points (..., 2): bilinear, zero outside; (C, ...)."""
    size = grids.shape[-1]
    padded = np.pad(grids, ((0, 0), (1, 1), (1, 1)))
    index = np.clip(((points + 1) * size - 1) / 2 + 1, 0, size + 1)
    low = np.minimum(np.floor(index).astype(np.intp), size)
    (x, y), (fx, fy) = np.moveaxis(low, -1, 0), np.moveaxis(index - low, -1, 0)
    upper = padded[:, y, x] * (1 - fx) + padded[:, y, x + 1] * fx
    lower = padded[:, y + 1, x] * (1 - fx) + padded[:, y + 1, x + 1] * fx
    blended: Float64 = upper * (1 - fy) + lower * fy
    return blended


def _render(template: Template, index: int, amplitude: float, *, absent: bool) -> tuple[Float64, Float64, Float64]:
    """RGB (3, 256, 256), area-averaged features (32, 64, 64) and binary mask (1, 256, 256) of one image."""
    grid = _pixel_centres(IMAGE_SIZE)
    points = template.to_template(index, grid, amplitude)
    flat = template.parts(*np.moveaxis(_pixel_centres(_TEMPLATE_SIZE), -1, 0))
    layers = np.concatenate([flat, flat.max(axis=0, keepdims=True)])
    sampled = np.zeros((len(layers), IMAGE_SIZE, IMAGE_SIZE)) if absent else _sample(layers, points)
    parts, foreground = sampled[:-1], sampled[-1:]
    u, v = points[..., 0], points[..., 1]
    x, y = grid[..., 0], grid[..., 1]
    rgb = foreground * template.foreground_rgb(u, v, parts) + (1 - foreground) * template.background_rgb(x, y, index)
    front, behind = template.waves.foreground(u, v, parts), template.waves.background(x, y, index)
    features = foreground * front + (1 - foreground) * behind
    return np.clip(rgb, 0, 1), _area_average(features), (foreground > 0.5).astype(np.float64)


def _area_average(array: Float64) -> Float64:
    """(..., 256, 256) to (..., 64, 64): the mean of each cell."""
    step = IMAGE_SIZE // FEATURE_SIZE
    cells = array.reshape(*array.shape[:-2], FEATURE_SIZE, step, FEATURE_SIZE, step)
    averaged: Float64 = cells.mean(axis=(-3, -1))
    return averaged
