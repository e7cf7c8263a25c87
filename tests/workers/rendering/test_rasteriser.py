import numpy as np
import pytest
import torch
from torch import Tensor

from alignment.mesh import Mesh
from workers.geometry.cameras import Cameras, looking_at_origin
from workers.rendering.rasteriser import interpolate, pixel_centres, pixels_of, rasterise
from workers.rendering.ray_casting import cast_rays
from workers.rendering.surface import Surface
from workers.rendering.views import render


def blob(seed: int = 0, faces: int = 60) -> tuple[Tensor, Tensor]:
    """Triangles of all sizes that cut through each other."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(faces, 1, 3, generator=generator) - 0.5
    sizes = 0.05 + 0.4 * torch.rand(faces, 1, 1, generator=generator)
    corners = centres + sizes * (torch.rand(faces, 3, 3, generator=generator) - 0.5)
    return corners.view(-1, 3), torch.arange(3 * faces).view(-1, 3)


def around(count: int = 6) -> tuple[Cameras, Tensor]:
    """Cameras from all sides, and windows of their pictures."""
    generator = torch.Generator().manual_seed(1)
    azimuth = 360 * torch.rand(count, generator=generator)
    elevation = 160 * torch.rand(count, generator=generator) - 80
    fov = 20 + 50 * torch.rand(count, generator=generator)
    cameras = looking_at_origin(azimuth, elevation, torch.full((count,), 1.8), fov, 30 * azimuth.sin())
    windows = torch.stack([0.1 * azimuth.sin(), 0.1 * azimuth.cos(), 0.5 + 0.3 * elevation.cos().abs()], dim=1)
    return cameras, windows


def test_pixels_show_what_rays_hit() -> None:
    vertices, faces = blob()
    cameras, windows = around()
    drawn = rasterise(vertices.double(), faces, double(cameras), windows.double(), 48)
    cast = cast_rays(vertices.double(), faces, double(cameras), windows.double(), 48)
    same = drawn.faces == cast.faces
    assert same.double().mean() > 0.9995
    assert cast.mask.double().mean() > 0.2
    torch.testing.assert_close(drawn.depth[same], cast.depth[same], atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(drawn.barycentric[same], cast.barycentric[same], atol=1e-5, rtol=1e-5)


def test_single_precision_draws_nearly_the_same() -> None:
    vertices, faces = blob(2)
    cameras, windows = around()
    drawn = rasterise(vertices, faces, cameras, windows, 48)
    cast = cast_rays(vertices.double(), faces, double(cameras), windows.double(), 48)
    assert (drawn.faces == cast.faces).double().mean() > 0.998


def test_many_views_are_drawn_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    vertices, faces = blob(3)
    cameras, windows = around(9)
    together = rasterise(vertices, faces, cameras, windows, 32)
    monkeypatch.setattr("workers.rendering.rasteriser._CANDIDATES", 1)
    alone = rasterise(vertices, faces, cameras, windows, 32)
    assert torch.equal(together.faces, alone.faces)
    assert torch.equal(together.depth, alone.depth)


def test_interpolated_vertices_project_to_their_pixels() -> None:
    vertices, faces = blob(4)
    cameras, windows = around()
    fragments = rasterise(vertices, faces, cameras, windows, 40)
    places = interpolate(fragments, faces, vertices)
    points, depth = cameras.project(places.flatten(2).transpose(1, 2))
    hit = fragments.mask.flatten(1)
    expected = pixel_centres(windows, 40).flatten(1, 2)
    assert (points - expected)[hit].abs().max() < 2e-5
    torch.testing.assert_close(depth[hit], fragments.depth.flatten(1)[hit], atol=1e-3, rtol=0)
    assert places.permute(0, 2, 3, 1)[~fragments.mask].abs().max() == 0


def test_values_of_vertices_get_gradients() -> None:
    vertices, faces = blob(5, faces=6)
    cameras, windows = around(2)
    fragments = rasterise(vertices, faces, cameras, windows, 24)
    values = torch.rand(len(vertices), 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given: interpolate(fragments, faces, given), (values,))


def test_triangles_that_touch_leave_no_gap() -> None:
    steps = torch.linspace(-0.5, 0.5, 8)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    vertices = torch.stack([x, y, 0.05 * torch.sin(9 * x + 5 * y)], dim=-1).view(-1, 3)
    corner = (torch.arange(7)[:, None] * 8 + torch.arange(7)).flatten()
    faces = torch.cat(
        [torch.stack([corner, corner + 1, corner + 9], 1), torch.stack([corner, corner + 9, corner + 8], 1)]
    )
    camera = looking_at_origin(torch.tensor([-80.0]), torch.tensor([10.0]), torch.tensor([2.0]), torch.tensor([30.0]))
    inside = rasterise(vertices, faces, camera, torch.tensor([[0.0, 0.0, 0.7]]), 257).mask
    assert inside.all()


def test_a_triangle_behind_the_camera_is_not_drawn() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [0.1, 0, 0], [0, 0.1, 0], [0, 0, 5.0], [0.1, 0, 5], [0, 0.1, 5]])
    faces = torch.arange(6).view(2, 3)
    camera = looking_at_origin(torch.tensor([-90.0]), torch.tensor([0.0]), torch.tensor([2.0]), torch.tensor([40.0]))
    drawn = rasterise(vertices, faces, camera, torch.tensor([[0.0, 0.0, 1.0]]), 64)
    assert set(drawn.faces.unique().tolist()) == {-1, 0}


def test_faces_without_area_are_harmless() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0.4, 0, 0], [0, 0.3, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 0, 0], [0, 1, 3]])
    camera = looking_at_origin(torch.tensor([-90.0]), torch.tensor([0.0]), torch.tensor([2.0]), torch.tensor([40.0]))
    drawn = rasterise(vertices, faces, camera, torch.tensor([[0.0, 0.0, 1.0]]), 64)
    assert torch.isfinite(drawn.depth).all()
    assert torch.isfinite(drawn.barycentric).all()
    assert (drawn.faces == 2).sum() > 50


def test_windows_are_parts_of_the_picture() -> None:
    vertices, faces = blob(6)
    cameras, _ = around(2)
    whole = rasterise(vertices, faces, cameras, torch.tensor([[0.0, 0.0, 1.0]]).repeat(2, 1), 64)
    corner = rasterise(vertices, faces, cameras, torch.tensor([[0.5, -0.5, 0.5]]).repeat(2, 1), 32)
    assert (whole.faces[:, :32, 32:] == corner.faces).float().mean() > 0.999
    assert pixels_of(torch.tensor([[[0.5, -0.5]]]), torch.tensor([[0.5, -0.5, 0.5]]), 32).tolist() == [[[16.0, 16.0]]]


@pytest.mark.parametrize("colouring", ["vertices", "texture", "none"])
def test_a_surface_shows_its_colours_over_the_background(colouring: str) -> None:
    square = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], dtype=np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], dtype=np.int32)
    colours = np.array([[255, 0, 0]] * 4, dtype=np.uint8) if colouring == "vertices" else None
    texture, uv = None, None
    if colouring == "texture":
        texture = np.zeros((4, 4, 3), dtype=np.uint8)
        texture[:2] = (0, 255, 0)
        uv = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], dtype=np.float32)
    surface = Surface.of(Mesh(square, faces, colours, uv, texture))
    camera = looking_at_origin(torch.tensor([-90.0]), torch.tensor([0.0]), torch.tensor([2.0]), torch.tensor([40.0]))
    views = render(surface, camera, torch.tensor([[0.0, 0.0, 1.0]]), 32, background=0.25)
    above, below, beside = views.rgb[0, :, 12, 16], views.rgb[0, :, 20, 16], views.rgb[0, :, 1, 1]
    assert beside.tolist() == [0.25, 0.25, 0.25]
    if colouring == "vertices":
        assert above.tolist() == below.tolist() == [1, 0, 0]
    elif colouring == "texture":
        assert (above.tolist(), below.tolist()) == ([0, 1, 0], [0, 0, 0])
    else:
        assert above[0] == above[1] == above[2]
        assert 0.3 < float(above[0]) <= 1
    assert torch.equal(views.hit, views.depth > 0)
    assert float(views.mask.mean()) == pytest.approx((0.5 / 2 / np.tan(np.radians(20))) ** 2, abs=0.02)


def test_samples_are_spread_evenly_over_the_area() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [3, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]])
    surface = Surface(vertices, torch.tensor([[0, 1, 2], [0, 3, 2], [2, 3, 4]]))
    points, normals = surface.samples(4000, seed=0)
    on_first = points[:, 2] == 0
    assert float(on_first.float().mean()) == pytest.approx(1.5 / 2.5, abs=0.01)
    assert torch.allclose(normals[on_first].abs(), torch.tensor([0.0, 0, 1]))
    assert torch.equal(points, surface.samples(4000, seed=0)[0])
    with pytest.raises(ValueError, match="no area"):
        Surface(vertices, torch.tensor([[0, 0, 0]])).samples(10, seed=0)


def double(cameras: Cameras) -> Cameras:
    return Cameras(cameras.rotation.double(), cameras.translation.double(), cameras.focal.double())
