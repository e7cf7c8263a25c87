"""Pictures as a result shows them: resampled through its maps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from alignment.atlas import Atlas
from alignment.dense import map_between
from alignment.forms import Form
from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize, cell_centres
from alignment.shape import Shape
from workers.geometry.coordinates import sample

Rgb = npt.NDArray[np.uint8]
Points = npt.NDArray[np.floating]


@dataclass(frozen=True)
class Warped:
    """A picture seen in another frame.

    Attributes:
        rgb: (h, w, 3) in [0, 1]; 0 where the picture is not seen.
        seen: (h, w) in [0, 1], share of the picture at each place.
    """

    rgb: npt.NDArray[np.float32]
    seen: npt.NDArray[np.float32]


def congealed(form: Form, pictures: list[Rgb], side: int) -> list[Warped]:
    """See every picture in the common frame: the atlas, or for pairwise maps and shapes the image of `frame_image`.

    Args:
        form: the result.
        pictures: uint8 (H, W, 3) as uploaded, in the order of the set.
        side: longer side of what is returned, in pixels.
    """
    if isinstance(form, Atlas):
        maps = [resized_map(array, side, side) for array in form.from_canonical]
        return [warp_picture(picture, array) for picture, array in zip(pictures, maps, strict=True)]
    frame = frame_image(form)
    return [_seen_by(form, frame, other, picture, side) for other, picture in enumerate(pictures)]


def frame_image(form: PairwiseMaps | Shape) -> int:
    """Return the image in whose frame the others are seen, the first of several.

    For pairwise maps it is that from which most maps start, for a shape that which shows the most of it, by confidence.
    """
    if isinstance(form, Shape):
        shown = [
            float(np.where(np.isfinite(places).all(axis=2), trust, 0).mean(dtype=np.float64))
            for places, trust in zip(form.coordinates, form.confidence, strict=True)
        ]
        return shown.index(max(shown))
    starts = Counter(source for source, _ in form.maps)
    return max(range(len(form.images)), key=lambda index: starts[index])


def _seen_by(form: PairwiseMaps | Shape, frame: int, other: int, picture: Rgb, side: int) -> Warped:
    """A picture through the map from the frame's image, faded where confidence is low; that image as it is."""
    height, width = fitted(form.images[frame], side)
    if other == frame:
        return warp_picture(picture, cell_centres(height, width, form.images[frame].extent))
    if isinstance(form, Shape):
        found = map_between(form, source=frame, target=other, shape=(height, width))
        places, trust = found.places, found.confidence.astype(np.float32)
    else:
        places = resized_map(form.places(frame, other), height, width)
        trust = resized_map(form.trust(frame, other)[..., None], height, width)[..., 0]
    view = warp_picture(picture, places)
    return Warped(view.rgb, view.seen * np.sqrt(trust.clip(0, 1)))


def warp_picture(rgb: Rgb, points: Points) -> Warped:
    """Read a picture (H, W, 3) at pixels (h, w, 2); NaN and places outside are not seen.

    Where the map shrinks the picture, it is reduced first, so that fine detail does not alias.
    """
    height, width = rgb.shape[:2]
    step = _median_step(points)
    extent = torch.tensor([width, height], dtype=torch.float32)
    places = torch.from_numpy(np.nan_to_num(points, nan=-1e6).astype(np.float32))
    to_border = torch.minimum(places, extent - places).amin(dim=-1)
    seen = (to_border / max(step, 1e-6) + 0.5).clamp(0, 1)
    source = torch.from_numpy(_reduced(rgb, step)).permute(2, 0, 1)[None].float() / 255
    colours = sample(source, (places / extent * 2 - 1)[None])[0] * (seen > 0)
    return Warped(colours.permute(1, 2, 0).numpy(), seen.numpy())


def average(warped: list[Warped]) -> Warped:
    """Mean of pictures in one frame, each where it is seen; it fades where fewer than a third of them are."""
    weight = np.sum([picture.seen for picture in warped], axis=0)
    total = np.sum([picture.rgb * picture.seen[..., None] for picture in warped], axis=0)
    mean = total / np.maximum(weight, 1e-6)[..., None]
    return Warped(mean.astype(np.float32), np.minimum(3 * weight / len(warped), 1.0).astype(np.float32))


def on_background(picture: Warped, grey: float) -> Rgb:
    """Put a picture on plain grey."""
    seen = picture.seen[..., None]
    blended = picture.rgb * seen + grey * (1 - seen)
    pixels: Rgb = (blended.clip(0, 1) * 255).round().astype(np.uint8)
    return pixels


def resized_map(points: Points, height: int, width: int) -> npt.NDArray[np.float32]:
    """Read a map (h, w, C) at height x width cells: linear up to the rim, NaN where the nearest cell has none."""
    maps = np.asarray(points, dtype=np.float32)
    rows, columns = _linear_weights(maps.shape[0], height), _linear_weights(maps.shape[1], width)
    known: npt.NDArray[np.bool_] = np.isfinite(maps.sum(axis=2))
    if known.all():
        whole: npt.NDArray[np.float32] = np.einsum("ah,hwc,bw->abc", rows, maps, columns, optimize=True)
        return whole
    inner_rows, inner_columns = rows.clip(0, 1), columns.clip(0, 1)
    weight = inner_rows @ known @ inner_columns.T
    filled = np.where(known[..., None], maps, 0.0)
    total = np.einsum("ah,hwc,bw->abc", inner_rows, filled, inner_columns, optimize=True)
    near = known[inner_rows.argmax(axis=1)][:, inner_columns.argmax(axis=1)]
    return np.where(near[..., None], total / np.maximum(weight, 1e-6)[..., None], np.nan).astype(np.float32)


def _linear_weights(old: int, new: int) -> npt.NDArray[np.float32]:
    """Weights (new, old) that read `old` cells linearly at the centres of `new` cells."""
    place = (np.arange(new) + 0.5) * old / new - 0.5
    low = np.clip(np.floor(place), 0, max(old - 2, 0)).astype(np.intp)
    weights = np.zeros((new, max(old, 2)), dtype=np.float32)
    weights[np.arange(new), low] = 1 - (place - low)
    weights[np.arange(new), low + 1] = place - low
    return weights if old > 1 else np.ones((new, 1), dtype=np.float32)


def fitted(size: ImageSize, side: int) -> tuple[int, int]:
    """Height and width of an image whose longer side is brought to `side`."""
    scale = side / max(size.width, size.height)
    return max(1, round(size.height * scale)), max(1, round(size.width * scale))


def _median_step(points: Points) -> float:
    """Pixels of the picture between neighbouring places."""
    steps = np.linalg.norm(np.diff(points, axis=1), axis=-1)
    steps = steps[np.isfinite(steps)]
    return float(np.median(steps)) if steps.size else 1.0


def _reduced(rgb: Rgb, step: float) -> Rgb:
    if step <= 1.0:
        return rgb
    height, width = (max(1, round(side / step)) for side in rgb.shape[:2])
    return np.array(Image.fromarray(rgb).resize((width, height), Image.Resampling.BOX, reducing_gap=3.0))
