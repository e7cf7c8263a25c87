import numpy as np
import pytest
import torch

from workers.rendering.colour_map import coloured
from workers.rendering.contact_sheet import INK, PAPER, WELL
from workers.rendering.heat_maps import HeatTile, heat_map_sheet

TILE = 112
LEFT, TOP, PITCH_X, PITCH_Y = 28, 116, TILE + 12, TILE + 36


def image(height: int = 60, width: int = 60) -> np.ndarray:
    return np.tile(np.array([200, 40, 90], dtype=np.uint8), (height, width, 1))


def peak_at(row: int, column: int, value: float = 0.5) -> np.ndarray:
    heat = np.zeros((6, 6), dtype=np.float32)
    heat[row, column] = value
    return heat


def tile(heat: np.ndarray | None = None, **more: object) -> HeatTile:
    given: dict[str, object] = {"rgb": image(), "heat": heat, "point": None, "name": "a.png", "peak": None} | more
    return HeatTile(**given)  # type: ignore[arg-type]


def sheet(*tiles: HeatTile, scale: float = 0.5, title: str = "query 1") -> np.ndarray:
    return heat_map_sheet(tiles, title=title, scale=scale, tile=TILE)


def well(drawn: np.ndarray, index: int) -> np.ndarray:
    row, column = divmod(index, 6)
    y, x = TOP + row * PITCH_Y, LEFT + column * PITCH_X
    return drawn[y : y + TILE, x : x + TILE]


def is_grey(pixels: np.ndarray) -> bool:
    return bool((np.ptp(pixels.reshape(-1, 3), axis=1) == 0).all())


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (6, 6, 1), (7, 6, 2), (60, 6, 10)])
def test_at_most_six_stand_in_a_row(count: int, columns: int, rows: int) -> None:
    drawn = sheet(*[tile(peak_at(2, 2))] * count)
    assert drawn.shape == (TOP - 24 + rows * PITCH_Y - 12 + 28, max(2 * 28 + columns * PITCH_X - 12, 320), 3)
    for index in range(count):
        assert not (well(drawn, index) == PAPER).all(axis=-1).any()


def test_without_images_only_the_title_is_drawn() -> None:
    drawn = sheet()
    assert (drawn != PAPER).any()
    assert drawn.shape == (TOP - 24 - 12 + 28, 320, 3)


def test_cold_places_show_the_grey_picture_and_the_peak_the_brightest_colour() -> None:
    shown = well(sheet(tile(peak_at(1, 4))), 0)
    hot = shown[round(1.5 * TILE / 6), round(4.5 * TILE / 6)].astype(float)
    brightest = 255 * coloured(torch.ones(1))[:, 0].numpy()
    assert np.abs(hot - brightest).max() < 50
    assert is_grey(shown[TILE // 2 :, : TILE // 2])
    assert shown[-1, 0, 0] > 60


def colourfulness(drawn: np.ndarray) -> int:
    return int(np.ptp(well(drawn, 0).astype(int), axis=-1).max())


def test_higher_heat_hides_more_of_the_picture() -> None:
    row = np.linspace(0, 1, 6, dtype=np.float32)
    dark = tile(np.tile(row, (6, 1)), rgb=image() * 0)
    light = tile(np.tile(row, (6, 1)), rgb=image() * 0 + 255)
    apart = np.abs(well(sheet(light, scale=1), 0).astype(int) - well(sheet(dark, scale=1), 0))[TILE // 2].mean(axis=-1)
    assert (np.diff(apart) <= 1).all()
    assert apart[0] > 150
    assert apart[-1] < 40


def test_heat_is_shown_relative_to_the_scale() -> None:
    whole, half = sheet(tile(peak_at(2, 2))), sheet(tile(peak_at(2, 2, 0.25)))
    assert (well(half, 0) != well(whole, 0)).any()
    assert (well(sheet(tile(peak_at(2, 2, 0.25)), scale=0.25), 0) == well(whole, 0)).all()
    assert colourfulness(half) < colourfulness(whole)
    assert (well(sheet(tile(peak_at(2, 2, 5.0))), 0).max(axis=(0, 1)) >= well(whole, 0).max(axis=(0, 1))).all()


def test_the_scale_is_told_in_the_header() -> None:
    header = np.s_[50:84]
    assert (sheet(tile(), scale=0.5)[header] != sheet(tile(), scale=0.0123)[header]).any()


def test_without_any_heat_nothing_is_coloured() -> None:
    assert is_grey(well(sheet(tile(np.zeros((4, 4))), scale=0.0), 0))
    assert is_grey(well(sheet(tile(np.full((4, 4), np.nan))), 0))


def test_images_that_were_not_asked_are_grey_and_the_source_keeps_its_colours() -> None:
    drawn = sheet(tile(is_source=True), tile())
    assert (well(drawn, 0)[40, 40] == image()[0, 0]).all()
    assert is_grey(well(drawn, 1))


def test_source_is_put_first_in_a_frame() -> None:
    source = tile(peak_at(2, 2), rgb=image() * 0, is_source=True)
    drawn = sheet(tile(), tile(), source)
    assert (drawn == sheet(source, tile(), tile())).all()
    y, x = TOP, LEFT
    assert (drawn[y - 4 : y + TILE + 4, x - 4 : x] == INK).all()
    assert (drawn[y - 4 : y, x - 4 : x + TILE + 4] == INK).all()
    assert not (drawn[y - 4 : y, x + PITCH_X : x + PITCH_X + TILE] == INK).all(axis=-1).any()


def test_padded_image_shows_only_its_part_of_the_heat_map() -> None:
    heat = np.zeros((8, 8), dtype=np.float32)
    heat[:2] = heat[6:] = 0.5
    wide = tile(heat, rgb=image(30, 60), box=(0.0, 0.25, 1.0, 0.75))
    shown = well(sheet(wide), 0)
    assert (shown[: TILE // 4] == WELL).all()
    assert is_grey(shown[TILE // 4 + 8 : -TILE // 4 - 8])
    heat[3, 0] = 0.5
    assert np.ptp(well(sheet(wide), 0)[TILE // 4 + TILE * 3 // 16, 7].astype(int)) > 60


def test_cross_marks_where_it_was_asked_and_ring_where_it_was_found() -> None:
    heat = np.zeros((4, 4))
    drawn = sheet(tile(heat, point=(30, 15), is_source=True), tile(heat, point=(15, 45)))
    cross, ring = well(drawn, 0), well(drawn, 1)
    assert (cross[TILE // 4, TILE // 2] > 240).all()
    plain = well(sheet(tile(heat)), 0)
    assert (ring[3 * TILE // 4, TILE // 4] == plain[0, 0]).all()
    rows, columns = np.nonzero((ring != plain).any(axis=-1))
    assert rows.mean() + 0.5 == pytest.approx(0.75 * TILE, abs=0.1)
    assert columns.mean() + 0.5 == pytest.approx(0.25 * TILE, abs=0.1)
    assert ring[rows, columns].max() == 255


@pytest.mark.parametrize("shape", [(32, 512), (512, 32), (1, 300), (3, 3)])
def test_elongated_and_tiny_images_fit_with_their_marks(shape: tuple[int, int]) -> None:
    height, width = shape
    shown = well(sheet(tile(peak_at(2, 2), rgb=image(*shape), point=(width / 2, height / 2))), 0)
    near = shown[TILE // 2 - 7 : TILE // 2 + 8, TILE // 2 - 7 : TILE // 2 + 8]
    assert near.max() == 255
    assert (shown[0, 0] == WELL).all() == (height != width)


def test_long_names_and_titles_stay_within_their_column() -> None:
    name = "a-very-long-name-of-an-uploaded-picture.jpeg"
    drawn = sheet(tile(name=name, peak=0.0123), tile(peak_at(1, 1), name=name, peak=0.4), title="long title " * 20)
    assert (drawn[TOP - 24 : TOP, LEFT + TILE : LEFT + PITCH_X] == PAPER).all()
    assert (drawn[:, -28:] == PAPER).all()


def test_peak_and_not_asked_stand_in_the_caption() -> None:
    caption = np.s_[TOP - 24 : TOP - 4, LEFT : LEFT + TILE]
    heat = peak_at(1, 1)
    asked, other, unasked = (
        sheet(tile(*given, peak=peak)) for given, peak in (((heat,), 0.5), ((heat,), 0.25), ((), None))
    )
    assert (asked[caption] != other[caption]).any()
    assert (unasked[caption] != sheet(tile(heat))[caption]).any()
