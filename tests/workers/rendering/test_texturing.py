from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.nn.functional import max_pool2d

from alignment.glb import read_glb, write_glb
from alignment.mesh import GREY, Mesh
from workers.evaluation.place_oracle import place_coloured
from workers.evaluation.procedural_shapes import animal
from workers.geometry.cameras import looking_at_origin
from workers.rendering.surface import Surface
from workers.rendering.texturing import Textured, textured
from workers.rendering.views import Views, render

SIZE = 256


@pytest.fixture(scope="module")
def painted() -> Textured:
    return textured(place_coloured(animal(0)), SIZE)


def tetrahedron() -> Mesh:
    vertices = np.array([[0.3, 0.3, 0.3], [0.3, -0.3, -0.3], [-0.3, 0.3, -0.3], [-0.3, -0.3, 0.3]], dtype=np.float32)
    return Mesh(vertices, np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], dtype=np.int32))


def views(mesh: Mesh) -> Views:
    azimuth = torch.tensor([-90.0, 20.0, 140.0])
    cameras = looking_at_origin(azimuth, azimuth / 4, torch.full((3,), 2.0), torch.full((3,), 35.0))
    return render(Surface.of(mesh), cameras, torch.tensor([[0.0, 0.0, 1.0]]).repeat(3, 1), 96, supersampling=1)


def known(texels: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.isfinite(texels).all(axis=-1))


def test_the_surface_stays_and_looks_the_same(painted: Textured) -> None:
    before, after = views(place_coloured(animal(0))), views(painted.mesh)
    assert torch.equal(before.hit, after.hit)
    assert (before.coordinates - after.coordinates).abs().max() < 1e-5
    inner = -max_pool2d(-before.hit.float(), 5, 1, 2) > 0
    difference = (before.rgb - after.rgb).abs().amax(dim=1, keepdim=True)[inner]
    assert difference.median() < 1 / 255
    assert difference.quantile(0.98) < 2 / 255


def test_every_texel_knows_its_place(painted: Textured) -> None:
    shown = known(painted.texels)
    assert painted.texels.shape == (SIZE, SIZE, 3)
    assert 0.3 < shown.mean() < 0.95
    texture = painted.mesh.texture
    assert texture is not None
    # The animal's colours are its places.
    places = texture[shown].astype(float) / 255 - 0.5
    assert np.median(np.linalg.norm(places - painted.texels[shown], axis=1)) < 0.005


def test_every_place_has_a_texel_of_its_own(painted: Textured) -> None:
    points, _ = Surface.of(animal(0).mesh).samples(500, seed=0)
    texels = torch.from_numpy(painted.texels[known(painted.texels)])
    distance = torch.cdist(points, texels).amin(dim=1)
    assert distance.quantile(0.99) < 0.012
    uv = painted.mesh.uv
    assert uv is not None
    columns, rows = np.clip((uv * SIZE).astype(int), 0, SIZE - 1).T
    there = painted.texels[rows, columns]
    close = np.linalg.norm(there - painted.mesh.vertices, axis=1)[known(there)]
    assert np.quantile(close, 0.95) < 0.012


def test_a_file_gives_the_same_pictures_bit_by_bit(painted: Textured) -> None:
    again = read_glb(write_glb(painted.mesh))
    assert torch.equal(views(again).rgb, views(painted.mesh).rgb)


def test_gaps_between_charts_have_the_colours_beside_them(painted: Textured) -> None:
    texture = painted.mesh.texture
    assert texture is not None
    assert texture[~known(painted.texels)].any(axis=-1).mean() > 0.95


def test_a_texture_is_painted_anew(painted: Textured) -> None:
    again = textured(painted.mesh, SIZE)
    first, second = views(painted.mesh), views(again.mesh)
    inner = -max_pool2d(-first.hit.float(), 5, 1, 2) > 0
    difference = (first.rgb - second.rgb).abs().amax(dim=1, keepdim=True)[inner & second.hit]
    assert difference.quantile(0.95) < 4 / 255


def test_what_has_no_colour_becomes_grey() -> None:
    found = textured(replace(animal(0).mesh, colours=None), 128)
    assert found.mesh.texture is not None
    assert (found.mesh.texture == GREY).all()


def test_a_mesh_of_four_faces_fills_its_texture() -> None:
    found = textured(replace(tetrahedron(), colours=np.full((4, 3), 90, dtype=np.uint8)), 128)
    assert len(found.mesh.faces) == 4
    assert 0.2 < known(found.texels).mean() < 1
    assert found.mesh.texture is not None
    assert (found.mesh.texture == 90).all()
    assert np.isfinite(found.mesh.vertices).all()


def test_triangles_that_do_not_hang_together_are_too_many_for_a_texture_and_harmless() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(-0.4, 0.4, (1500, 1, 3)) + rng.uniform(-0.02, 0.02, (1500, 3, 3))
    corners[::100] = corners[::100, :1]
    soup = Mesh(
        corners.reshape(-1, 3).astype(np.float32),
        np.arange(4500, dtype=np.int32).reshape(-1, 3),
        np.full((4500, 3), 200, dtype=np.uint8),
    )
    found = textured(soup, 128)
    assert len(found.mesh.faces) == 1500
    assert found.mesh.texture is not None
    assert found.mesh.texture.shape == (128, 128, 3)
    assert (found.mesh.texture[known(found.texels)] == 200).all()
