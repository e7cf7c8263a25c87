import io

import numpy as np
import pytest
from PIL import Image

from workers.evaluation.procedural_shapes import animal
from workers.rendering.surface import Surface
from workers.rendering.turntable import animated_webp, turntable

COUNT = 4
SIZE = 72


def frames() -> list[np.ndarray]:
    return turntable(Surface.of(animal(0).mesh), count=COUNT, size=SIZE)


def shown(frame: np.ndarray) -> np.ndarray:
    return (frame < 250).any(axis=-1)


def test_the_whole_shape_is_seen_on_white_from_all_sides() -> None:
    drawn = frames()
    assert len(drawn) == COUNT
    for frame in drawn:
        assert frame.shape == (SIZE, SIZE, 3)
        assert frame.dtype == np.uint8
        rim = np.concatenate([frame[0], frame[-1], frame[:, 0], frame[:, -1]])
        assert (rim == 255).all()
        assert 0.05 < shown(frame).mean() < 0.5


def test_opposite_sides_are_nearly_mirrored_outlines_and_neighbouring_ones_are_not() -> None:
    masks = [shown(frame) for frame in frames()]

    def overlap(one: np.ndarray, other: np.ndarray) -> float:
        return float((one & other).sum() / (one | other).sum())

    assert overlap(masks[0], masks[2][:, ::-1]) > 1.2 * overlap(masks[0], masks[1][:, ::-1])


def test_the_front_comes_first_with_the_head_on_the_right() -> None:
    rows, columns = np.nonzero(shown(frames()[0]))
    assert columns[rows.argmin()] > SIZE / 2


def test_the_shape_turns_counterclockwise_seen_from_below() -> None:
    quarter = turntable(Surface.of(animal(0).mesh), count=12, size=SIZE)
    heads = [np.nonzero(shown(frame))[1][np.nonzero(shown(frame))[0].argmin()] for frame in quarter[:3]]
    assert heads[0] > heads[1] > heads[2]


def test_every_picture_is_a_tick() -> None:
    ticks: list[int] = []
    turntable(Surface.of(animal(0).mesh), count=3, size=32, tick=lambda: ticks.append(1))
    assert len(ticks) == 3


def test_an_animation_holds_all_frames_and_runs_for_ever() -> None:
    drawn = frames()
    image = Image.open(io.BytesIO(animated_webp(drawn, duration_ms=70)))
    assert image.format == "WEBP"
    assert getattr(image, "n_frames", 1) == COUNT
    assert image.info["loop"] == 0
    for index, frame in enumerate(drawn):
        image.seek(index)
        image.load()
        assert image.info["duration"] == 70
        error = np.abs(np.asarray(image.convert("RGB")).astype(int) - frame)
        assert error.mean() < 6


def test_an_animation_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        animated_webp([])
