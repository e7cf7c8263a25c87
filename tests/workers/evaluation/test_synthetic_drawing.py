from dataclasses import replace

import numpy as np
import pytest

from workers.evaluation.anatomy import FIELD_SIZE, KEYPOINTS, OUTLINES, canonical_fields, sample
from workers.evaluation.backdrop import GROWERS, SCENES, STAMPS, Scene, backdrop
from workers.evaluation.branches import grow
from workers.evaluation.painting import Light, paint_fish
from workers.evaluation.stamps import place
from workers.evaluation.styles import PALETTES, random_style, rgb
from workers.evaluation.warps import pixel_centres

FIELDS = canonical_fields()
LIGHT = Light(-0.4, -0.6, 0.6928)


def test_fields_are_read_bilinearly() -> None:
    ramp = (np.add.outer(2 * np.arange(FIELD_SIZE), np.arange(FIELD_SIZE))).astype(np.float32)
    points = np.array([(0.25, 0.5), (0.6123, 0.2345)])
    expected = points @ [1, 2] * FIELD_SIZE - 1.5
    np.testing.assert_allclose(sample(ramp, points), expected, rtol=1e-5)


@pytest.mark.parametrize("part", OUTLINES)
def test_signed_distance_vanishes_on_the_outline(part: str) -> None:
    knots = np.array(OUTLINES[part])
    assert np.abs(sample(FIELDS.distance[part], knots)).max() < 0.006
    away = knots + 0.05 * (knots - knots.mean(axis=0)) / np.linalg.norm(knots - knots.mean(axis=0), axis=1)[:, None]
    assert sample(FIELDS.distance[part], away).min() > 0.002


def test_keypoints_lie_on_the_object_and_apart() -> None:
    points = np.array(list(KEYPOINTS.values()))
    assert sample(FIELDS.silhouette, points).max() < -0.003
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + np.eye(len(points))
    assert gaps.min() > 0.08


@pytest.mark.parametrize("index", range(len(PALETTES)))
def test_paint_covers_the_silhouette_and_nothing_else(index: int) -> None:
    style = random_style(PALETTES[index], np.random.default_rng(index))
    points = pixel_centres(80, 80).reshape(-1, 2) / 80
    colour, opacity = paint_fish(points, softness=0.005, fields=FIELDS, style=style, light=LIGHT)
    distance = sample(FIELDS.silhouette, points)
    assert opacity[distance < -0.01].min() > 0.6
    assert opacity[distance > 0.01].max() == 0.0
    assert colour.min() >= 0.0
    assert colour.max() <= 1.0
    assert colour[distance < 0].std() > 0.08


@pytest.mark.parametrize("index", range(len(PALETTES)))
def test_bands_keep_their_place_whatever_the_paint(index: int) -> None:
    # The strongest change of colour along this line is the shoulder band's rear border, 0.02 wide with its pale rim.
    x = np.linspace(0.37, 0.48, 221)
    points = np.stack([x, np.full_like(x, 0.40)], axis=-1)
    style = replace(random_style(PALETTES[index], np.random.default_rng(index)), bands=(1, 1, 1, 1), pattern="plain")
    colour, _ = paint_fish(points, softness=0.002, fields=FIELDS, style=style, light=LIGHT)
    assert 0.42 < x[np.abs(np.diff(colour, axis=0)).sum(axis=1).argmax()] < 0.45


@pytest.mark.parametrize("name", STAMPS)
def test_stamps_stay_within_reach(name: str) -> None:
    canvas = np.full((120, 140, 3), 0.5, np.float32)
    place(
        canvas, STAMPS[name], centre=(60, 50), radius=20, colour=np.array([0.8, 0.3, 0.2]), shadow=0.4,
        rng=np.random.default_rng(1),
    )  # fmt: skip
    changed = np.abs(canvas - 0.5).max(axis=-1) > 0.02
    far = np.hypot(*np.moveaxis(pixel_centres(140, 120) - (60, 50), -1, 0)) > 46
    assert changed.sum() > 250
    assert not (changed & far).any()


@pytest.mark.parametrize("name", GROWERS)
def test_growing_things_start_at_their_root(name: str) -> None:
    canvas = np.full((160, 160, 3), 0.5, np.float32)
    grow(canvas, GROWERS[name], root=(80, 110), size=60, colour=np.array([0.9, 0.5, 0.1]), rng=np.random.default_rng(2))
    changed = np.abs(canvas - 0.5).max(axis=-1) > 0.05
    assert changed.sum() > 150
    assert changed[90:125, 60:100].any()
    assert not changed[:20].any()


@pytest.mark.parametrize("scene", SCENES, ids=[scene.top for scene in SCENES])
def test_backdrops_are_cluttered_and_follow_the_seed(scene: Scene) -> None:
    first, again, other = (backdrop(160, 130, scene=scene, rng=np.random.default_rng(s)) for s in (4, 4, 5))
    assert first.shape == (130, 160, 3)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).mean() > 0.01
    assert np.abs(np.diff(first, axis=1)).max() > 0.1


def test_hexadecimal_colours() -> None:
    np.testing.assert_allclose(rgb("ff8000"), [1, 128 / 255, 0])
