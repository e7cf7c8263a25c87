"""Fitting a mask to the edges of its picture by GrabCut (Rother, Kolmogorov, Blake, SIGGRAPH 2004)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import cv2
import numpy as np
import numpy.typing as npt

ITERATIONS = 5
SURE_KERNEL = 7
PLAUSIBLE = (0.02, 0.80)
"""Shares of foreground outside of which the colour models have too little to learn from."""
LEAST_OVERLAP = 0.5
"""Intersection over union with the mask below which the result has left the object, as it may on flat pictures."""

Mask = npt.NDArray[np.bool_]


def grabcut(picture: npt.NDArray[np.uint8], mask: Mask, *, guarded: bool = True, seed: int = 0) -> Mask:
    """Refine a mask (H, W) of a picture (H, W, 3).

    What a 7 x 7 erosion leaves of the mask and of its complement is sure; the rest counts as probable foreground.

    Args:
        guarded: refine only masks of 2 to 80 % of the picture, and keep only results that overlap the mask by half.
            The official code of arXiv 2112.05814 does neither.
        seed: of the colour models' start.

    Returns:
        (H, W); the mask as it was where it is not plausible or one of the classes is empty.
    """
    low, high = PLAUSIBLE
    if guarded and not low <= mask.mean() <= high:
        return mask
    trimap = _trimap(mask)
    try:
        with _reproducible(seed):
            cv2.grabCut(
                picture, trimap, (0, 0, 1, 1), np.zeros((1, 65)), np.zeros((1, 65)), ITERATIONS, cv2.GC_INIT_WITH_MASK
            )
    except cv2.error:
        return mask
    refined: Mask = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    return mask if guarded and _overlap(mask, refined) < LEAST_OVERLAP else refined


def _overlap(first: Mask, second: Mask) -> float:
    return float((first & second).sum() / max(int((first | second).sum()), 1))


def _trimap(mask: Mask) -> npt.NDArray[np.uint8]:
    kernel = np.ones((SURE_KERNEL, SURE_KERNEL), dtype=np.uint8)
    trimap = np.full(mask.shape, cv2.GC_PR_FGD, dtype=np.uint8)
    trimap[cv2.erode(mask.astype(np.uint8), kernel) > 0] = cv2.GC_FGD
    trimap[cv2.erode((~mask).astype(np.uint8), kernel) > 0] = cv2.GC_BGD
    return trimap


@contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """OpenCV's colour models start at random; one thread keeps to the runner's share of the machine."""
    threads = cv2.getNumThreads()
    cv2.setRNGSeed(seed % 2**31)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)
