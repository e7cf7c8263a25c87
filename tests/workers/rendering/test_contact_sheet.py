import numpy as np
import pytest

from workers.rendering.contact_sheet import ALARM, PAPER, Tile, contact_sheet, layout


def picture(shade: int, height: int = 30, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), shade, dtype=np.uint8)


def tile(index: int, *, mirrored: bool = False, outlier: bool = False) -> Tile:
    shade = 10 + 3 * index
    name = f"a-very-long-name-of-an-uploaded-picture-{index}.jpeg"
    return Tile(picture(shade), picture(shade, 32, 32), name, mirrored=mirrored, outlier=outlier)


def sheet(count: int, *, mirrored: tuple[int, ...] = (), outliers: tuple[int, ...] = ()) -> np.ndarray:
    tiles = [tile(n, mirrored=n in mirrored, outlier=n in outliers) for n in range(count)]
    return contact_sheet(tiles, picture(250, 32, 32), title="title", aligned_label="congealed")


@pytest.mark.parametrize("count", [1, 2, 5, 12, 31, 60, 200])
def test_every_picture_has_its_own_place_on_the_sheet(count: int) -> None:
    plan = layout(count)
    corners = [plan.corner(index) for index in range(count)]
    assert len(set(corners)) == count
    for x, y in corners:
        assert x + plan.tile <= plan.width - plan.panel
        assert y + 2 * plan.tile < plan.height
    assert plan.columns * plan.bands >= count
    assert plan.panel > plan.tile


@pytest.mark.parametrize("count", [1, 7])
def test_original_stands_above_its_aligned_copy(count: int) -> None:
    plan, drawn = layout(count), sheet(count)
    assert drawn.shape == (plan.height, plan.width, 3)
    for index in range(count):
        x, y = plan.corner(index)
        middle = plan.tile // 2
        shade = 10 + 3 * index
        assert drawn[y + middle, x + middle].tolist() == [shade] * 3
        assert drawn[y + plan.tile + 8 + middle, x + middle].tolist() == [shade] * 3


def test_captions_do_not_run_into_the_next_column() -> None:
    plan, drawn = layout(5), sheet(5)
    for index in range(1, 5):
        x, y = plan.corner(index)
        gap = drawn[y - 20 : y - 2, x - 6 : x - 1]
        assert (gap == PAPER).all()


def is_red(drawn: np.ndarray) -> np.ndarray:
    return (drawn == ALARM).all(axis=-1)


def test_outliers_stand_in_a_red_frame_and_nobody_else() -> None:
    plan, drawn = layout(5), sheet(5, outliers=(3,))
    for index in range(5):
        x, y = plan.corner(index)
        rim = is_red(drawn[y : y + 2 * plan.tile + 8, x : x + plan.tile])
        assert bool(rim[0].all() and rim[-1].all() and rim[:, 0].all() and rim[:, -1].all()) == (index == 3)
    assert not is_red(sheet(5)).any()


def test_mirrored_images_and_outliers_are_called_so() -> None:
    plan, plain, marked = layout(5), sheet(5), sheet(5, mirrored=(1,), outliers=(3,))
    for index in range(5):
        x, y = plan.corner(index)
        caption = np.s_[y - 20 : y - 1, x : x + plan.tile]
        assert (plain[caption] != marked[caption]).any() == (index in (1, 3))
    assert tile(0, mirrored=True, outlier=True).remarks == "outlier, mirrored"
    assert tile(0).remarks == ""


def test_average_says_whom_it_leaves_out() -> None:
    plan = layout(5)
    x = plan.width - plan.panel - 28
    caption = np.s_[64:85, x : x + plan.panel]
    shown = [sheet(5, outliers=outliers)[caption] for outliers in ((), (3,), (3, 4))]
    assert (shown[0] != shown[1]).any()
    assert (shown[1] != shown[2]).any()


def test_panel_shows_its_picture_under_the_given_label() -> None:
    tiles = [tile(n) for n in range(5)]
    plan = layout(5)
    x = plan.width - plan.panel - 28
    drawn = contact_sheet(tiles, picture(77, 32, 32), title="t", aligned_label="points", panel_label="points asked for")
    assert (drawn[86 : 86 + plan.panel, x : x + plan.panel] == 77).all()
    assert (drawn[64:85, x : x + plan.panel] != sheet(5)[64:85, x : x + plan.panel]).any()


def test_long_title_ends_before_the_margin() -> None:
    drawn = contact_sheet([tile(0)], picture(250), title="a very long title " * 9, aligned_label="warped")
    assert (drawn[:60, -28:] == PAPER).all()
    assert (drawn[:60] != PAPER).any()
