import numpy as np
import pytest
import trimesh

from workers.evaluation.procedural_shapes import RADIUS, ProceduralShape, animal, bench

ANIMALS = range(8)


def solid(shape: ProceduralShape) -> trimesh.Trimesh:
    return trimesh.Trimesh(shape.mesh.vertices, shape.mesh.faces, process=False)


@pytest.mark.parametrize("shape", [*map(animal, ANIMALS), bench()])
def test_a_shape_is_one_closed_surface_that_faces_outward(shape: ProceduralShape) -> None:
    mesh = solid(shape)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.body_count == 1
    assert mesh.volume > 0.01
    assert 2000 < len(mesh.faces) < 8000


@pytest.mark.parametrize("shape", [*map(animal, ANIMALS), bench()])
def test_a_shape_lies_in_the_canonical_frame(shape: ProceduralShape) -> None:
    assert shape.mesh.bounds.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-5)
    assert np.linalg.norm(shape.mesh.vertices, axis=1).max() == pytest.approx(RADIUS, abs=1e-5)
    assert np.linalg.norm(shape.likeness, axis=1).max() <= RADIUS + 1e-5


def test_the_template_is_its_own_place() -> None:
    np.testing.assert_allclose(animal(0).places, animal(0).mesh.vertices, atol=1e-6)


def test_the_template_stands_on_four_feet_with_its_head_in_front_and_its_hanging_ear_on_the_right() -> None:
    vertices = animal(0).mesh.vertices
    feet = vertices[vertices[:, 1] < vertices[:, 1].min() + 0.02]
    assert {(bool(x > 0), bool(z > 0)) for x, _, z in feet} == {(a, b) for a in (True, False) for b in (True, False)}
    assert vertices[vertices[:, 1].argmax(), 0] > 0.2
    ears = vertices[(vertices[:, 0] > 0.2) & (np.abs(vertices[:, 2]) > 0.03) & (vertices[:, 1] > 0.25)]
    assert ears[ears[:, 2] < 0, 1].max() > ears[ears[:, 2] > 0, 1].max() + 0.02


@pytest.mark.parametrize("instance", ANIMALS[1:])
def test_an_animal_is_a_deformed_template(instance: int) -> None:
    own, template = animal(instance), animal(0)
    np.testing.assert_array_equal(own.mesh.faces, template.mesh.faces)
    np.testing.assert_array_equal(own.places, template.places)
    assert np.linalg.norm(own.mesh.vertices - own.places, axis=1).mean() > 0.01
    stretched = solid(own).edges_unique_length / solid(template).edges_unique_length
    assert stretched.min() > 0.3
    assert stretched.max() < 2.5


def test_an_animal_may_differ_from_the_template_by_less() -> None:
    template = animal(0).mesh.vertices

    def difference(variation: float) -> float:
        return float(np.linalg.norm(animal(2, variation).mesh.vertices - template, axis=1).mean())

    assert difference(0.0) < 1e-6
    assert difference(0.5) == pytest.approx(difference(1.0) / 2, rel=0.25)


def test_animals_differ_in_shape_and_colour() -> None:
    for first in ANIMALS:
        for second in ANIMALS[first + 1 :]:
            one, other = animal(first).mesh, animal(second).mesh
            assert np.linalg.norm(one.vertices - other.vertices, axis=1).mean() > 0.005
            assert one.colours is not None
            assert other.colours is not None
            assert np.abs(one.colours.astype(int) - other.colours).mean() > 8


def test_the_flanks_differ_in_colour() -> None:
    paint = animal(0).paint
    flanks = np.array([[x, 0.06, side] for side in (0.09, -0.09) for x in (-0.1, -0.05, 0.0)])
    right, left = np.split(paint(flanks), 2)
    assert np.abs(right - left).max() > 0.2


def test_the_same_animal_comes_from_a_fresh_build() -> None:
    before = animal(3).mesh
    again = animal.__wrapped__(3).mesh
    np.testing.assert_array_equal(before.vertices, again.vertices)
    assert before.colours is not None
    assert again.colours is not None
    np.testing.assert_array_equal(before.colours, again.colours)


def half_a_turn_apart(shape: ProceduralShape) -> np.ndarray:
    """Return for each vertex how much its likeness differs from that of the vertex nearest to its turned place."""
    turned = shape.mesh.vertices * (-1, 1, -1)
    gaps = np.linalg.norm(turned[::7, None] - shape.mesh.vertices[None], axis=2)
    assert gaps.min(axis=1).max() < 0.03
    return np.asarray(np.linalg.norm(shape.likeness[::7] - shape.likeness[gaps.argmin(axis=1)], axis=1))


def test_a_bench_looks_the_same_after_half_a_turn() -> None:
    assert np.median(half_a_turn_apart(bench(0.0))) < 0.025


def test_an_asymmetric_bench_does_not_look_the_same_after_half_a_turn() -> None:
    assert np.median(half_a_turn_apart(bench(0.3))) > 0.1
    np.testing.assert_allclose(bench(1.0).likeness, bench(1.0).places, atol=1e-6)


def test_a_bench_is_not_its_own_mirror_image() -> None:
    vertices = bench().mesh.vertices
    gaps = np.linalg.norm((vertices * (1, 1, -1))[::7, None] - vertices[None], axis=2).min(axis=1)
    assert gaps.max() > 0.05


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="number them from 0"):
        animal(-1)
    with pytest.raises(ValueError, match=r"variation 1.5 is outside \[0, 1\]"):
        animal(1, 1.5)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        bench(1.5)
