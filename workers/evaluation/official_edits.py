"""How Neural Congealing (arXiv 2302.03956) lays an edit over an image: paint thrown forward, then interpolated.

For comparison only; `alignment.edits` reads backward instead. Points are in index coordinates: (0, 0) is the centre of
the first pixel.
"""

import numpy as np
import numpy.typing as npt
from scipy.interpolate import LinearNDInterpolator

Float64 = npt.NDArray[np.float64]

SPLAT_SIGMA_PX = 0.9
_TINY = 1e-8


def edit_by_griddata(image: Float64, points: Float64, colours: Float64) -> Float64:
    """Interpolate painted points linearly over their Delaunay triangles and lay them over an image (the default rule).

    Args:
        image: (H, W, 3) in [0, 1].
        points: (P, 2), where in the image the painted pixels of the atlas lie.
        colours: (P, 4), straight alpha; its channels are interpolated each by itself.

    Returns:
        (H, W, 3); unchanged outside the hull of the points.
    """
    height, width = image.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    paint = LinearNDInterpolator(points, colours, fill_value=0.0)(np.stack([x, y], axis=-1).astype(np.float64))
    alpha = paint[..., 3:]
    edited: Float64 = image * (1 - alpha) + alpha * paint[..., :3]
    return edited


def splat(
    points: Float64, colours: Float64, alpha: Float64, size: tuple[int, int], *, sigma_px: float = SPLAT_SIGMA_PX
) -> tuple[Float64, Float64]:
    """Spread painted points as Gaussians that end two sigma from their centre (the rule of the CUDA extension).

    Args:
        points: (P, 2); those outside the image count for nothing.
        colours: (P, C).
        alpha: (P,) in [0, 1].
        size: height and width of the image.
        sigma_px: of the Gaussian.

    Returns:
        Colour (H, W, C), the weighted mean; alpha (H, W), the weighted mean where there is weight of 1 or more, and
        the weighted sum where there is less.
    """
    height, width = size
    total, weighted_alpha = np.zeros(size), np.zeros(size)
    weighted = np.zeros((height, width, colours.shape[1]))
    for (x, y), colour, opacity in zip(points, colours, alpha, strict=True):
        if not (0 <= x <= width - 1 and 0 <= y <= height - 1):
            continue
        columns, rows = _support(x, sigma_px, width), _support(y, sigma_px, height)
        squared = (rows[:, None] - y) ** 2 + (columns[None, :] - x) ** 2
        weight = np.exp(-squared / (2 * sigma_px**2))
        window = np.ix_(rows, columns)
        total[window] += weight
        weighted_alpha[window] += weight * opacity
        weighted[window] += weight[..., None] * colour
    return weighted / (total[..., None] + _TINY), weighted_alpha / (np.maximum(total, 1) + _TINY)


def edit_by_splat(image: Float64, points: Float64, colours: Float64) -> Float64:
    """Lay splatted paint, (P, 4) with straight alpha at points (P, 2), over an image (H, W, 3)."""
    colour, alpha = splat(points, colours[:, :3], colours[:, 3], (image.shape[0], image.shape[1]))
    edited: Float64 = alpha[..., None] * colour + (1 - alpha[..., None]) * image
    return edited


def _support(centre: float, sigma_px: float, count: int) -> npt.NDArray[np.intp]:
    first = max(int(np.floor(centre - 2 * sigma_px)), 0)
    last = min(int(np.ceil(centre + 2 * sigma_px)), count - 1)
    return np.arange(first, last + 1)
