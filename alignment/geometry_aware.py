"""Which keypoints can only be told by where they are: the left paw from the right one."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def geometry_aware(
    source_visible: npt.NDArray[np.bool_], target_visible: npt.NDArray[np.bool_], groups: Sequence[Sequence[int]]
) -> npt.NDArray[np.bool_]:
    """Tell which keypoints (K,) of a pair of images are geometry-aware.

    A keypoint is, if it belongs to a group of keypoints that look alike, is visible in both images, and another one of
    its group is visible in the target, whether or not the source shows that one too.

    Groups hold the keypoints' own numbers. The published code numbers them anew in the order of its table for its
    figures per point, which moves some groups of SPair-71k (such as the lights of a car) and of AP-10K to other
    keypoints; figures per image agree.

    Source: Telling Left from Right (arXiv 2311.17034), section 3.

    Args:
        source_visible: (K,), of the image that is carried from.
        target_visible: (K,), of the image that is carried to.
        groups: numbers below K.
    """
    rivals = np.zeros(len(target_visible), dtype=np.bool_)
    for group in groups:
        members = np.asarray(group, dtype=np.intp)
        rivals[members] |= target_visible[members].sum() > 1
    return rivals & source_visible & target_visible
