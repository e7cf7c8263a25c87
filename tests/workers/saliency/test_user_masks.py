import numpy as np
import numpy.typing as npt
import pytest
import torch

from workers.imaging.frames import WorkingFrames, letterboxed
from workers.saliency.user_masks import GivenMask, user_masks

NAMES = ("wide.png", "tall.png")
SIZES = ((40, 80), (120, 60))


@pytest.fixture
def frames() -> WorkingFrames:
    return letterboxed([np.zeros((*size, 3), dtype=np.uint8) for size in SIZES], 64, "cpu")


def halves() -> list[npt.NDArray[np.bool_]]:
    """The left half of the first image, the upper half of the second."""
    wide, tall = (np.zeros(size, dtype=bool) for size in SIZES)
    wide[:, :40] = True
    tall[:60] = True
    return [wide, tall]


def test_masks_land_where_their_pictures_are(frames: WorkingFrames) -> None:
    masks = user_masks(halves(), frames, NAMES, cells=16)
    expected = torch.zeros(2, 1, 16, 16)
    expected[0, :, 4:12, :8] = 1
    expected[1, :, :8, 4:12] = 1
    torch.testing.assert_close(masks, expected)


def test_cells_hold_shares(frames: WorkingFrames) -> None:
    given = halves()
    given[0][:, 10:] = False
    masks = user_masks(given, frames, NAMES, cells=4)
    expected = torch.zeros(4, 4)
    expected[1:3, 0] = 0.5
    torch.testing.assert_close(masks[0, 0], expected)


@pytest.mark.parametrize(
    "convert",
    [
        lambda mask: mask.astype(np.uint8),
        lambda mask: mask.astype(np.uint8) * 255,
        lambda mask: mask.astype(np.float64),
        lambda mask: mask.astype(np.float16),
    ],
    ids=["uint8 0/1", "uint8 0/255", "float64", "float16"],
)
def test_all_kinds_mean_the_same(frames: WorkingFrames, convert: object) -> None:
    assert callable(convert)
    given = [convert(mask) for mask in halves()]
    torch.testing.assert_close(
        user_masks(given, frames, NAMES, cells=16), user_masks(halves(), frames, NAMES, cells=16)
    )


def broken(kind: str) -> GivenMask:
    if kind == "size":
        return np.ones((60, 120), dtype=bool)
    if kind == "empty":
        return np.zeros(SIZES[1], dtype=bool)
    if kind == "type":
        return np.ones(SIZES[1], dtype=np.int64)  # type: ignore[return-value]
    return np.full(SIZES[1], {"finite": np.nan, "range": 2.0, "below": -0.5}[kind])


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("size", r"has shape \(60, 120\), its image \(120, 60\)"),
        ("empty", "is empty"),
        ("type", "holds int64"),
        ("finite", "not finite"),
        ("range", "spans 2 to 2"),
        ("below", "spans -0.5 to -0.5"),
    ],
)
def test_faults_name_the_image(frames: WorkingFrames, kind: str, says: str) -> None:
    with pytest.raises(ValueError, match=f"the mask of tall.png .*{says}|the mask of tall.png {says}"):
        user_masks([halves()[0], broken(kind)], frames, NAMES, cells=16)


def test_every_image_needs_a_mask(frames: WorkingFrames) -> None:
    with pytest.raises(ValueError, match="1 masks for 2 images"):
        user_masks(halves()[:1], frames, NAMES, cells=16)
