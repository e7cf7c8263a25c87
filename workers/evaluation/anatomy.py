"""The made-up category of the sample set, once and for all pictures: a reef fish seen from its left side.

Outlines, part borders and keypoints are fixed in the canonical frame [0, 1] x [0, 1] (x to the tail, y down).
Individuals differ by a warp of this frame and by paint, so a canonical point names the same spot on all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage, sparse
from scipy.sparse import linalg

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Points = tuple[tuple[float, float], ...]

FIELD_SIZE = 768
_HEIGHT_SIZE = 256

EYE = (0.207, 0.468)
EYE_RADIUS = 0.034

OUTLINES: dict[str, Points] = {
    "body": (
        (0.082, 0.548), (0.108, 0.512), (0.150, 0.458), (0.205, 0.395), (0.285, 0.330), (0.385, 0.288),
        (0.490, 0.282), (0.595, 0.318), (0.685, 0.388), (0.755, 0.450), (0.805, 0.474), (0.850, 0.476),
        (0.866, 0.520), (0.850, 0.564), (0.805, 0.566), (0.755, 0.590), (0.685, 0.650), (0.595, 0.708),
        (0.490, 0.738), (0.385, 0.728), (0.285, 0.682), (0.200, 0.628), (0.135, 0.588), (0.096, 0.572),
    ),
    "dorsal": (
        (0.300, 0.340), (0.332, 0.272), (0.375, 0.212), (0.440, 0.162), (0.520, 0.132), (0.610, 0.124),
        (0.700, 0.130), (0.795, 0.150), (0.768, 0.215), (0.752, 0.290), (0.752, 0.370), (0.772, 0.470),
        (0.600, 0.460), (0.420, 0.430),
    ),
    "anal": (
        (0.490, 0.700), (0.530, 0.772), (0.590, 0.838), (0.660, 0.880), (0.770, 0.905), (0.745, 0.835),
        (0.737, 0.755), (0.745, 0.670), (0.770, 0.568), (0.640, 0.600),
    ),
    "pelvic": (
        (0.330, 0.680), (0.345, 0.760), (0.385, 0.835), (0.450, 0.900), (0.452, 0.820), (0.440, 0.730),
        (0.400, 0.690),
    ),
    "tail": (
        (0.815, 0.490), (0.860, 0.455), (0.905, 0.400), (0.975, 0.335), (0.962, 0.405), (0.938, 0.465),
        (0.926, 0.520), (0.938, 0.575), (0.962, 0.635), (0.975, 0.705), (0.905, 0.640), (0.860, 0.585),
        (0.815, 0.550),
    ),
    "pectoral": (
        (0.352, 0.560), (0.400, 0.522), (0.462, 0.508), (0.520, 0.525), (0.532, 0.572), (0.505, 0.625),
        (0.452, 0.645), (0.395, 0.618),
    ),
}  # fmt: skip

# Where the rays of a fin meet.
FIN_ROOTS: dict[str, tuple[float, float]] = {
    "dorsal": (0.36, 1.02),
    "anal": (0.40, 0.14),
    "pelvic": (0.345, 0.560),
    "tail": (0.700, 0.520),
    "pectoral": (0.320, 0.562),
}

KEYPOINTS: dict[str, tuple[float, float]] = {
    "snout": (0.088, 0.550),
    "eye": EYE,
    "nape": (0.285, 0.336),
    "dorsal_front": (0.376, 0.222),
    "dorsal_tip": (0.780, 0.157),
    "dorsal_rear": (0.757, 0.446),
    "tail_top": (0.968, 0.347),
    "tail_fork": (0.922, 0.520),
    "tail_bottom": (0.968, 0.693),
    "anal_rear": (0.757, 0.596),
    "anal_tip": (0.757, 0.894),
    "anal_front": (0.498, 0.734),
    "pelvic_tip": (0.444, 0.886),
    "chin": (0.200, 0.622),
    "gill": (0.326, 0.520),
    "pectoral_tip": (0.524, 0.572),
}


@dataclass(frozen=True)
class Fields:
    """Scalar fields (FIELD_SIZE, FIELD_SIZE) over the canonical frame, read with `sample`.

    Attributes:
        distance: for each part, the signed distance to its outline in canonical units, negative inside.
        silhouette: the same for the whole object.
        slope_x, slope_y: gradient of the body's pillow-like height.
    """

    distance: dict[str, Float32]
    silhouette: Float32
    slope_x: Float32
    slope_y: Float32


@cache
def canonical_fields() -> Fields:
    """The fields of the one anatomy; computed once a process."""
    distance = {name: _signed_distance(smooth_outline(points)) for name, points in OUTLINES.items()}
    height = _pillow(distance["body"])
    slope_y, slope_x = (np.gradient(height, 1.0 / FIELD_SIZE, axis=axis).astype(np.float32) for axis in (0, 1))
    whole = np.minimum.reduce([distance[name] for name in OUTLINES])
    return Fields(distance=distance, silhouette=whole, slope_x=slope_x, slope_y=slope_y)


def sample(field: Float32, canonical: npt.NDArray[np.floating]) -> Float32:
    """Read a field at canonical points (..., 2): bilinear, its border value outside."""
    index = np.clip(canonical * FIELD_SIZE - 0.5, 0, FIELD_SIZE - 1.001).astype(np.float32)
    low = index.astype(np.intp)
    x, y = np.moveaxis(index - low.astype(np.float32), -1, 0)
    corner = low[..., 1] * FIELD_SIZE + low[..., 0]
    flat = field.ravel()
    upper = flat[corner] * (1 - x) + flat[corner + 1] * x
    lower = flat[corner + FIELD_SIZE] * (1 - x) + flat[corner + FIELD_SIZE + 1] * x
    values: Float32 = upper + (lower - upper) * y
    return values


def smooth_outline(points: Points, *, steps: int = 16) -> Float64:
    """A closed Catmull-Rom curve through the points, (len * steps, 2)."""
    p1 = np.array(points)
    p0, p2, p3 = np.roll(p1, 1, axis=0), np.roll(p1, -1, axis=0), np.roll(p1, -2, axis=0)
    t = (np.arange(steps) / steps)[:, None, None]
    curve = 0.5 * (2 * p1 + (p2 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3) * t**2 + (3 * p1 - p0 - 3 * p2 + p3) * t**3)
    ordered: Float64 = curve.transpose(1, 0, 2).reshape(-1, 2)
    return ordered


def _signed_distance(outline: Float64) -> Float32:
    """Signed distance in canonical units, smoothed over a cell so that edges are not jagged."""
    image = Image.new("1", (FIELD_SIZE, FIELD_SIZE))
    ImageDraw.Draw(image).polygon([(float(x), float(y)) for x, y in outline * FIELD_SIZE - 0.5], fill=1)
    inside = np.asarray(image)
    cells = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
    return np.asarray(ndimage.gaussian_filter(cells / FIELD_SIZE, 1.2), dtype=np.float32)


def _pillow(distance: Float32) -> Float64:
    """Height of an inflated membrane over the body: the square root of a Poisson solution, 0 outside."""
    coarse = ndimage.zoom(distance, _HEIGHT_SIZE / FIELD_SIZE, order=1)
    inside = coarse < 0
    number = np.cumsum(inside.ravel()).reshape(inside.shape) - 1
    laplacian = sparse.eye(int(inside.sum()), format="csr") * 4.0
    for axis, shift in ((0, 1), (0, -1), (1, 1), (1, -1)):
        both = inside & np.roll(inside, shift, axis)
        pairs = (number[both], np.roll(number, shift, axis)[both])
        laplacian = laplacian - sparse.csr_matrix((np.ones(len(pairs[0])), pairs), shape=laplacian.shape)
    solution = np.zeros(inside.shape)
    solution[inside] = linalg.spsolve(laplacian.tocsc(), np.ones(int(inside.sum())))
    height = np.sqrt(solution / solution.max() + 0.01) - 0.1
    fine: Float64 = ndimage.gaussian_filter(ndimage.zoom(height, FIELD_SIZE / _HEIGHT_SIZE, order=1), 6.0)
    return fine
