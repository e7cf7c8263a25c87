import numpy as np
import pytest
import torch
from torch.testing import assert_close

from workers.geometry.coordinates import identity_grid, normalised_to_pixels
from workers.geometry.letterbox import Letterbox
from workers.imaging.frames import frame_to_upload, inner_map, inner_slices, letterboxed, upload_to_frame

SIZES = [(640, 480), (479, 640), (100, 100), (1000, 37)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_points_come_back_exactly(width: int, height: int) -> None:
    box = Letterbox(width, height, 256)
    points = torch.tensor([[0.0, 0.0], [width, height], [width / 3, height / 7]], dtype=torch.float64)
    assert_close(frame_to_upload(upload_to_frame(points, box), box), points, atol=1e-9, rtol=0)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_marked_place_is_found_where_the_mapping_says(width: int, height: int) -> None:
    rgb = np.zeros((height, width, 3), dtype=np.uint8)
    x, y = int(width * 0.7), int(height * 0.3)
    side = max(4, min(width, height) // 6)
    rgb[y : y + side, x : x + side] = 255
    frames = letterboxed([rgb], 256, "cpu")
    light = frames.pictures[0].mean(dim=0)
    centres = normalised_to_pixels(identity_grid(256, 256), width=256, height=256)
    found = (light[..., None] * centres).sum(dim=(0, 1)) / light.sum()
    mark = torch.tensor([x + side / 2, y + side / 2])
    expected = frames.boxes[0].to_frame(mark)
    assert_close(found, expected, atol=0.15, rtol=0)


def test_gap_repeats_the_edge_and_counts_as_invalid() -> None:
    rgb = np.full((50, 100, 3), 200, dtype=np.uint8)
    frames = letterboxed([rgb, rgb.transpose(1, 0, 2)], 64, "cpu")
    assert_close(frames.pictures, torch.full((2, 3, 64, 64), 200 / 255))
    valid = frames.valid(16)
    assert valid.shape == (2, 1, 16, 16)
    assert float(valid[0].mean()) == pytest.approx(0.5)
    assert valid[0, 0, :4].sum() == 0
    assert valid[0, 0, 4:12].min() == 1
    assert_close(valid[0, 0], valid[1, 0].T)


def test_inner_map_leaves_out_the_padding_and_stays_in_place() -> None:
    box = Letterbox(300, 200, 64)
    ramp = identity_grid(32, 32).permute(2, 0, 1)
    inner = inner_map(ramp, box)
    assert inner.shape == (2, 22, 32)
    pixels = frame_to_upload(inner.permute(1, 2, 0), box)
    expected = normalised_to_pixels(identity_grid(22, 32), width=300, height=200)
    assert_close(pixels, expected, atol=0.01, rtol=0)


def test_slices_hold_the_whole_picture() -> None:
    box = Letterbox(333, 101, 96)
    rows, columns = inner_slices(box)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (box.inner_height, box.inner_width)
    corner = box.to_frame(torch.tensor([0.0, 0.0]))
    assert (columns.start, rows.start) == tuple(corner.tolist())
