import cv2
import numpy as np
import numpy.typing as npt
import pytest

from workers.saliency.grabcut import grabcut

SIDE = 96


def disc(radius: int) -> npt.NDArray[np.bool_]:
    y, x = np.mgrid[:SIDE, :SIDE]
    inside: npt.NDArray[np.bool_] = (x - SIDE // 2) ** 2 + (y - SIDE // 2) ** 2 < radius**2
    return inside


def picture() -> npt.NDArray[np.uint8]:
    noise = np.random.default_rng(0).integers(0, 30, (SIDE, SIDE, 3))
    return (noise + np.where(disc(25), 180, 40)[..., None]).astype(np.uint8)


@pytest.mark.parametrize("radius", [23, 27])
def test_edges_are_found(radius: int) -> None:
    refined = grabcut(picture(), disc(radius))
    truth = disc(25)
    assert (refined & truth).sum() / (refined | truth).sum() > 0.97


def test_the_same_seed_gives_the_same_mask_whatever_was_drawn_before() -> None:
    cv2.setRNGSeed(1)
    first = grabcut(picture(), disc(35), seed=5)
    cv2.setRNGSeed(99)
    assert np.array_equal(first, grabcut(picture(), disc(35), seed=5))


def test_threads_are_left_as_they_were() -> None:
    before = cv2.getNumThreads()
    grabcut(picture(), disc(20))
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize("mask", [np.zeros((SIDE, SIDE), bool), np.ones((SIDE, SIDE), bool)], ids=["none", "all"])
def test_an_empty_class_leaves_the_mask(mask: npt.NDArray[np.bool_]) -> None:
    assert np.array_equal(grabcut(picture(), mask, guarded=False), mask)


@pytest.mark.parametrize("radius", [5, 200])
def test_an_implausible_mask_is_left(radius: int) -> None:
    assert np.array_equal(grabcut(picture(), disc(radius)), disc(radius))


def test_a_flat_picture_cannot_spoil_a_mask() -> None:
    flat = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    refined = grabcut(flat, disc(25))
    assert (refined & disc(25)).sum() / (refined | disc(25)).sum() >= 0.5
    assert refined.dtype == np.bool_
