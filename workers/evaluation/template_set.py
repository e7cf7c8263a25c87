"""A small analytic test set: one flat template, eight poses and smooth deformations, hand-made features.

Everything is given by closed formulas, so any alignment of the set can be measured to a fraction of a pixel.
The template lives in (u, v) in [-1, 1], u to the right and v down. Image i shows template point

    t = w + d_i(w),   w = R_i^T (p - c_i) / s_i,   p in [-1, 1]^2 the normalised image point,

with d_i a smooth displacement of the given amplitude.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

COUNT = 8
IMAGE_SIZE = 256
FEATURE_SIZE = 64
FEATURE_DIM = 32
KEYPOINT_NAMES = (
    "head_outer",
    "neck",
    "back",
    "belly",
    "tail_root",
    "tail_tip",
    "front_foot",
    "front_hip",
    "hind_foot",
    "hind_hip",
    "chest",
    "middle",
)
TEMPLATE_KEYPOINTS: Float64 = np.array(
    [
        (0.47, -0.33),
        (0.33, -0.18),
        (0.0, -0.25),
        (0.0, 0.25),
        (-0.36, -0.05),
        (-0.58, -0.16),
        (0.22, 0.46),
        (0.22, 0.15),
        (-0.24, 0.46),
        (-0.24, 0.15),
        (0.36, 0.05),
        (0.15, 0.0),
    ]
)

_TEMPLATE_SIZE = 512
_FIXED_POINT_STEPS = 60
_ROTATION_RAD = (0.0, 0.30, -0.25, 0.45, -0.40, 0.15, -0.10, 0.35)
_SCALE = (1.0, 0.85, 1.10, 0.75, 0.95, 1.15, 0.80, 0.90)
_SHIFT = (
    (0.0, 0.0),
    (0.12, -0.10),
    (-0.10, 0.08),
    (0.20, 0.12),
    (-0.22, 0.10),
    (0.05, -0.05),
    (-0.15, 0.15),
    (0.10, -0.12),
)


@dataclass(frozen=True)
class TemplateSet:
    """The rendered set with its truth. Image coordinates are continuous pixels of the 256 x 256 images.

    Attributes:
        images: (8, 3, 256, 256) RGB in [0, 1].
        features: (8, 32, 64, 64) area-averaged features, noise included.
        masks: (8, 1, 64, 64) covered fraction of each feature cell in [0, 1].
        image_masks: (8, 1, 256, 256) foreground, 0 or 1.
        keypoints: (8, 12, 2) image points (x, y); NaN in the image without the object.
        visible: (8, 12) False in the image without the object.
        amplitude: of the non-rigid part, in template units.
        mirrored: indices of the pictures that are mirrored left to right.
        without_object: index of the picture that shows only background, or None.
    """

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
        target = np.asarray(template_points, dtype=np.float64)
        deformed = target
        for _ in range(_FIXED_POINT_STEPS):
            deformed = target - _displacement(deformed, index, self.amplitude)
        normalised = _SCALE[index] * deformed @ _rotation(index).T + np.array(_SHIFT[index])
        pixels: Float64 = (normalised + 1.0) * (IMAGE_SIZE / 2)
        return self._mirror(index, pixels)

    def to_template(self, index: int, image_points: npt.ArrayLike) -> Float64:
        """Points (..., 2) of image `index` in pixels to template points (..., 2); inverse of `to_image`."""
        pixels = self._mirror(index, np.asarray(image_points, dtype=np.float64))
        return _template_points(index, pixels * (2 / IMAGE_SIZE) - 1.0, self.amplitude)

    def transfer(self, source: int, target: int, points: npt.ArrayLike) -> Float64:
        """Points (..., 2) of image `source` to where image `target` shows the same template point."""
        return self.to_image(target, self.to_template(source, points))

    def _mirror(self, index: int, pixels: Float64) -> Float64:
        if index not in self.mirrored:
            return pixels
        flipped: Float64 = pixels * np.array([-1.0, 1.0]) + np.array([float(IMAGE_SIZE), 0.0])
        return flipped


def template_set(
    *,
    amplitude: float = 0.05,
    feature_noise: float = 0.0,
    seed: int = 0,
    mirrored: Sequence[int] = (),
    without_object: int | None = None,
) -> TemplateSet:
    """Render the eight images, their features, masks and keypoints.

    Args:
        amplitude: of the non-rigid displacement, template units; up to 0.25 it does not fold.
        feature_noise: standard deviation of Gaussian noise on `features`, in units of the features' own.
        seed: of that noise.
        mirrored: images to mirror left to right, with features, masks and keypoints.
        without_object: an image in which only the background is drawn.

    Raises:
        ValueError: an index outside the set, a negative noise or an amplitude that folds the template.
    """
    _check_options(amplitude, feature_noise, mirrored, without_object)
    rendered = [_render(i, amplitude, absent=i == without_object) for i in range(COUNT)]
    images, features, image_masks = (np.stack(arrays) for arrays in zip(*rendered, strict=True))
    for i in set(mirrored):
        for array in (images, features, image_masks):
            array[i] = array[i, ..., ::-1].copy()
    noise = np.random.default_rng(seed).standard_normal(features.shape)
    features = features + feature_noise * features.std() * noise
    visible = np.ones((COUNT, len(TEMPLATE_KEYPOINTS)), dtype=bool)
    if without_object is not None:
        visible[without_object] = False
    keypoints = np.full((COUNT, len(TEMPLATE_KEYPOINTS), 2), np.nan, dtype=np.float32)
    result = TemplateSet(
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
    for i in range(COUNT):
        if i != without_object:
            keypoints[i] = result.to_image(i, TEMPLATE_KEYPOINTS)
    return result


def _check_options(amplitude: float, feature_noise: float, mirrored: Sequence[int], without_object: int | None) -> None:
    chosen = [*mirrored] if without_object is None else [*mirrored, without_object]
    for index in chosen:
        if not 0 <= index < COUNT:
            raise ValueError(f"image index {index} is outside the set; use 0 to {COUNT - 1}")
    if not 0.0 <= amplitude <= 0.25:
        raise ValueError(f"amplitude {amplitude} folds the template; use 0 to 0.25")
    if feature_noise < 0.0:
        raise ValueError(f"feature_noise {feature_noise} is negative; use 0 or more")


def _rotation(index: int) -> Float64:
    cos, sin = np.cos(_ROTATION_RAD[index]), np.sin(_ROTATION_RAD[index])
    return np.array([[cos, -sin], [sin, cos]])


def _displacement(points: Float64, index: int, amplitude: float) -> Float64:
    u, v = points[..., 0], points[..., 1]
    du = np.sin(np.pi * (0.9 * v + 0.37 * index)) * np.cos(np.pi * u / 2)
    dv = np.cos(np.pi * (0.8 * u + 0.53 * index)) * np.cos(np.pi * v / 2)
    return amplitude * np.stack([du, dv], axis=-1)


def _template_points(index: int, normalised: Float64, amplitude: float) -> Float64:
    undone: Float64 = (normalised - np.array(_SHIFT[index])) @ _rotation(index) / _SCALE[index]
    return undone + _displacement(undone, index, amplitude)


def _parts(u: Float64, v: Float64) -> Float64:
    """Membership (5, ...) of body, head, tail, front leg, hind leg; 0 or 1."""
    body = (u / 0.42) ** 2 + (v / 0.3) ** 2 < 1
    head = np.hypot(u - 0.40, v + 0.25) < 0.17
    tail = (u > -0.62) & (u < -0.30) & (np.abs(v + 0.08 - 0.3 * (u + 0.30)) < 0.06)
    leg_height = (v > 0.1) & (v < 0.5)
    legs = [(np.abs(u - centre) < 0.05) & leg_height for centre in (0.22, -0.24)]
    return np.stack([body, head, tail, *legs]).astype(np.float64)


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


def _render(index: int, amplitude: float, *, absent: bool) -> tuple[Float64, Float64, Float64]:
    """RGB (3, 256, 256), area-averaged features (32, 64, 64) and binary mask (1, 256, 256) of one image."""
    grid = _pixel_centres(IMAGE_SIZE)
    points = _template_points(index, grid, amplitude)
    template = _parts(*np.moveaxis(_pixel_centres(_TEMPLATE_SIZE), -1, 0))
    layers = np.concatenate([template, template.max(axis=0, keepdims=True)])
    sampled = np.zeros((len(layers), IMAGE_SIZE, IMAGE_SIZE)) if absent else _sample(layers, points)
    parts, foreground = sampled[:-1], sampled[-1:]
    u, v = points[..., 0], points[..., 1]
    x, y = grid[..., 0], grid[..., 1]
    rgb = foreground * _foreground_rgb(u, v, parts) + (1 - foreground) * _background_rgb(x, y, index)
    front, behind = _foreground_features(u, v, parts), _background_features(x, y, index)
    features = foreground * front + (1 - foreground) * behind
    return np.clip(rgb, 0, 1), _area_average(features), (foreground > 0.5).astype(np.float64)


def _foreground_rgb(u: Float64, v: Float64, parts: Float64) -> Float64:
    waves = np.stack([np.sin(6 * u + 1), np.sin(7 * v + 2), np.sin(5 * (u + v))])
    tint = np.array([0.9, 0.4, 0.2])[:, None, None] * parts.argmax(axis=0) / 4
    rgb: Float64 = 0.75 * (0.5 + 0.5 * waves) + 0.25 * tint
    return rgb


def _background_rgb(x: Float64, y: Float64, index: int) -> Float64:
    red = 0.4 * np.sin((3 + index) * x + index)
    green = 0.4 * np.cos((4 + index % 3) * y - index)
    blue = 0.4 * np.sin(3 * x * y + 2 * index)
    return np.stack([0.5 + red, 0.5 + green, 0.5 + blue])


def _foreground_features(u: Float64, v: Float64, parts: Float64) -> Float64:
    k = np.arange(FEATURE_DIM)[:, None, None]
    waves = np.sin(3 * np.sin(1.7 * k + 0.3) * u + 3 * np.cos(2.3 * k + 0.9) * v + 0.8 * k)
    q = np.arange(len(parts))
    weights = np.cos(1.1 * np.arange(FEATURE_DIM)[:, None] * (q + 1) + q)
    features: Float64 = waves + 0.6 * np.tensordot(weights, parts, axes=1)
    return features


def _background_features(x: Float64, y: Float64, index: int) -> Float64:
    k = np.arange(FEATURE_DIM)[:, None, None]
    fx, fy = 2.5 * np.cos(1.3 * k + 1.1 * index), 2.5 * np.sin(2.1 * k + 0.7 * index)
    features: Float64 = 0.8 * np.sin(fx * x + fy * y + 0.5 * k + index)
    return features


def _area_average(array: Float64) -> Float64:
    """(..., 256, 256) to (..., 64, 64): the mean of each cell."""
    step = IMAGE_SIZE // FEATURE_SIZE
    cells = array.reshape(*array.shape[:-2], FEATURE_SIZE, step, FEATURE_SIZE, step)
    averaged: Float64 = cells.mean(axis=(-3, -1))
    return averaged
