import numpy as np
import pytest

from workers.rendering.contact_sheet import PAPER, contact_sheet, layout


def picture(shade: int, height: int = 30, width: int = 40) -> np.ndarray:
    return np.full((height, width, 3), shade, dtype=np.uint8)


def sheet(count: int) -> np.ndarray:
    return contact_sheet(
        [picture(10 + 3 * n) for n in range(count)],
        [picture(10 + 3 * n, 32, 32) for n in range(count)],
        picture(250, 32, 32),
        names=[f"a-very-long-name-of-an-uploaded-picture-{n}.jpeg" for n in range(count)],
        title="title",
        aligned_label="congealed",
    )


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
