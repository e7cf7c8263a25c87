import numpy as np
import pytest

from workers.rendering.points import MOST_NUMBERED, grid_colours, point_colours, points_picture

GREY = 128


def grey(height: int = 300, width: int = 400) -> np.ndarray:
    return np.full((height, width, 3), GREY, dtype=np.uint8)


def picture(points: list[tuple[float, float]], confidence: list[float] | None = None, **more: object) -> np.ndarray:
    numbers = more.pop("numbers", range(len(points)))
    sure = [1.0] * len(points) if confidence is None else confidence
    shape = more.pop("shape", (300, 400))
    places = np.array(points, dtype=np.float32).reshape(-1, 2)
    return points_picture(grey(*shape), places, np.array(sure), numbers=numbers, side=400, **more)  # type: ignore[arg-type, misc]


def changed(drawn: np.ndarray) -> np.ndarray:
    return (drawn != GREY).any(axis=-1)


def lab(rgb: np.ndarray) -> np.ndarray:
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_lms = [
        [0.41222147, 0.53633254, 0.05144599],
        [0.2119035, 0.6806995, 0.1073970],
        [0.0883025, 0.2817188, 0.6299787],
    ]
    to_lab = [
        [0.2104543, 0.7936178, -0.0040720],
        [1.9779985, -2.4285922, 0.4505937],
        [0.0259040, 0.7827718, -0.8086758],
    ]
    return np.cbrt(linear @ np.array(to_lms).T) @ np.array(to_lab).T


@pytest.mark.parametrize(("count", "apart"), [(3, 0.25), (6, 0.12), (12, 0.08), (20, 0.06), (40, 0.02)])
def test_colours_of_points_lie_apart(count: int, apart: float) -> None:
    seen = lab(point_colours(count))
    distances = np.linalg.norm(seen[:, None] - seen, axis=-1) + np.eye(count)
    assert distances.min() > apart


def test_hues_lie_evenly_on_the_circle_and_neighbours_in_number_far_apart() -> None:
    seen = lab(point_colours(10))
    hues = np.arctan2(seen[:, 2], seen[:, 1])
    assert np.diff(np.sort(hues)) == pytest.approx(np.full(9, 2 * np.pi / 10), abs=0.05)
    steps = np.abs(np.angle(np.exp(1j * np.diff(hues))))
    assert steps.min() > np.pi / 2


def test_no_points_have_no_colours() -> None:
    assert point_colours(0).shape == (0, 3)
    assert grid_colours(np.zeros((0, 2)), (4, 3)).shape == (0, 3)


def test_a_place_has_the_same_colour_in_frames_of_every_size() -> None:
    shares = np.random.default_rng(0).uniform(size=(20, 2))
    small = grid_colours(shares * (40, 30), (40, 30))
    assert (small == grid_colours(shares * (400, 900), (400, 900))).all()


def test_colours_by_place_change_steadily_and_never_come_back() -> None:
    steps = (np.arange(9) + 0.5) / 9
    seen = lab(grid_colours(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2), (1, 1)))
    distances = np.linalg.norm(seen[:, None] - seen, axis=-1) + np.eye(81)
    assert distances.min() > 0.01
    rows = np.linalg.norm(np.diff(seen.reshape(9, 9, 3), axis=1), axis=-1)
    assert np.ptp(rows, axis=1).max() < 0.01


def test_colours_by_place_hold_outside_the_frame_and_without_a_place() -> None:
    points = np.array([[-5.0, -5], [0, 0], [np.nan, np.nan], [2, 1.5]])
    colours = grid_colours(points, (4, 3))
    assert (colours[0] == colours[1]).all()
    assert (colours[2] == colours[3]).all()


def test_point_has_its_colour_inside_and_a_white_and_a_dark_ring() -> None:
    drawn = picture([(100, 80), (300, 200)])
    colours = point_colours(2)
    assert drawn.shape == (300, 400, 3)
    assert (drawn[80, 100] == colours[0]).all()
    assert (drawn[200, 300] == colours[1]).all()
    across = drawn[80, 90:101].astype(int).sum(axis=-1)
    assert across.max() > 720
    assert across.min() < 3 * 100


def test_given_colours_take_the_place_of_the_numbers() -> None:
    drawn = picture([(100, 80)], colours=np.array([[10, 20, 250]], dtype=np.uint8))
    assert drawn[80, 100].tolist() == [10, 20, 250]


def test_a_number_keeps_its_colour_where_others_are_missing() -> None:
    drawn = picture([(200, 150), (20, 20)], numbers=[4, 7])
    assert (drawn[150, 200] == point_colours(8)[4]).all()


def test_low_confidence_hollows_the_disc_and_keeps_the_ring() -> None:
    shown = [picture([(100, 80)], [sure]) for sure in (0.0, 0.5, 1.0)]
    fills = [drawn[80, 100].astype(float) for drawn in shown]
    assert (fills[0] == GREY).all()
    assert fills[1] == pytest.approx((fills[0] + fills[2]) / 2, abs=1)
    ring = np.s_[70:91, 90:95]
    assert (shown[0][ring] == shown[2][ring]).all()
    assert changed(shown[0])[ring].any()
    assert (picture([(100, 80)], [np.nan]) == shown[0]).all()


def test_points_that_were_not_found_are_not_drawn() -> None:
    assert not changed(picture([(np.nan, np.nan), (100, np.nan), (-3, 20), (500, 20)])).any()
    assert (picture([(np.nan, np.nan), (100, 80)]) == picture([(100, 80)], numbers=[1])).all()


def test_without_points_the_picture_stays() -> None:
    assert not changed(picture([])).any()


def labelled(drawn: np.ndarray, x: int, y: int) -> bool:
    """Tell whether anything stands round a point, its disc left out."""
    near = changed(drawn)[y - 14 : y + 15, x - 25 : x + 26].copy()
    near[3:26, 14:37] = False
    return bool(near.any())


def test_up_to_forty_points_are_numbered_and_more_have_smaller_discs() -> None:
    few = [(30.0 + 45 * (n % 8), 30.0 + 55 * (n // 8)) for n in range(MOST_NUMBERED)]
    numbered, plain = picture(few), picture([*few, (390, 290)])
    assert all(labelled(numbered, round(x), round(y)) for x, y in few)
    assert not any(labelled(plain, round(x), round(y)) for x, y in few)
    patch = np.s_[20:41, 20:41]
    assert 0 < changed(plain)[patch].sum() < changed(numbered)[patch].sum()


def test_labels_take_the_place_of_numbers() -> None:
    plain, named = picture([(100, 80)]), picture([(100, 80)], labels=["left eye"])
    assert changed(named).sum() > changed(plain).sum() + 200
    assert not changed(named)[:, :85].any()


def test_label_at_a_border_stays_inside() -> None:
    drawn = picture([(398, 150)], labels=["tail"])
    assert changed(drawn)[140:160, 340:388].any()


def test_numbers_that_find_no_room_are_left_out() -> None:
    crowd = [(200.0 + 2 * (n % 6), 150.0 + 2 * (n // 6)) for n in range(36)]
    numbered = changed(picture(crowd, labels=["0000000"] * 36))
    assert numbered.sum() < 12000


@pytest.mark.parametrize(
    ("shape", "side", "expected"),
    [
        ((300, 400), 512, (384, 512)),
        ((3000, 1500), 512, (512, 256)),
        ((20, 30), 512, (40, 60)),
        ((32, 512), 512, (32, 512)),
        ((512, 32), 128, (128, 8)),
        ((1, 1000), 100, (1, 100)),
    ],
)
def test_longer_side_is_fitted_and_small_images_grow_twofold_at_most(
    shape: tuple[int, int], side: int, expected: tuple[int, int]
) -> None:
    points = np.array([[shape[1] / 2, shape[0] / 2], [0, 0], [shape[1], shape[0]]])
    drawn = points_picture(grey(*shape), points, np.ones(3), numbers=range(3), side=side)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (*expected, 3)
    if min(expected) >= 8:
        assert (drawn[expected[0] // 2, expected[1] // 2] == point_colours(3)[0]).all()


def test_surer_points_lie_above() -> None:
    drawn = picture([(100, 80), (101, 80)], [1.0, 0.0])
    assert (drawn[80, 100] == point_colours(2)[0]).all()
