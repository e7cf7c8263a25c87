"""The marcher against its plain form and against what can be calculated."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.workers.methods.congealing_3d.generate.volumes import Ellipsoid
from workers.geometry.cameras import Cameras
from workers.methods.congealing_3d.generate.cameras import draw_views, ring
from workers.methods.congealing_3d.generate.grid_field import GridField
from workers.methods.congealing_3d.generate.marching import Marched, Marching, march
from workers.methods.congealing_3d.generate.marching_reference import march_reference
from workers.methods.congealing_3d.generate.occupancy import Occupancy
from workers.methods.congealing_3d.generate.rays import rays_of, sample_places, step_length

SIZE, SAMPLES = 10, 64
PICTURES = ("rgb", "opacity", "depth", "coordinates")


def cameras() -> Cameras:
    return draw_views(1, torch.Generator().manual_seed(0)).cameras


def field(strength: float = 0.2) -> GridField:
    found = GridField((4, 8))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for grid in found.grids:
            grid.copy_(strength * torch.randn(grid.shape, generator=generator))
    return found


def shifts() -> Tensor:
    return torch.rand(4 * SIZE**2, generator=torch.Generator().manual_seed(2))


def gradients(volume: GridField, marched: Marched) -> list[Tensor]:
    weights = torch.Generator().manual_seed(5)
    total = sum(
        (getattr(marched, name) * torch.randn(getattr(marched, name).shape, generator=weights)).sum()
        for name in PICTURES
    )
    assert isinstance(total, Tensor)
    return list(torch.autograd.grad(total, list(volume.parameters())))


@pytest.mark.parametrize("rays_at_once", [37, 4096])
def test_marching_in_chunks_agrees_with_the_plain_form_gradients_too(rays_at_once: int) -> None:
    volume = field()
    plain = march_reference(volume, cameras(), SIZE, backdrop=volume.background, shifts=shifts(), samples=SAMPLES)
    marched = march(
        volume,
        cameras(),
        SIZE,
        backdrop=volume.background,
        shifts=shifts(),
        marching=Marching(SAMPLES, rays_at_once),
    )
    assert 0.05 < float(plain.opacity.detach().mean()) < 0.95
    for name in PICTURES:
        assert_close(getattr(marched, name), getattr(plain, name), atol=1e-5, rtol=1e-4)
    for found, expected in zip(gradients(volume, marched), gradients(volume, plain), strict=True):
        assert float(expected.norm()) > 0
        assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=1e-3)


def test_leaving_out_what_is_empty_changes_little() -> None:
    volume = field(strength=3.0)
    occupancy = Occupancy(step_length(SAMPLES), torch.device("cpu"))
    for look in range(5):
        occupancy.update(volume, torch.Generator().manual_seed(look))
    assert float((occupancy.values > occupancy.threshold).float().mean()) < 0.6
    plain = march_reference(volume, cameras(), SIZE, backdrop=volume.background, samples=SAMPLES)
    marched = march(
        volume, cameras(), SIZE, backdrop=volume.background, occupancy=occupancy, marching=Marching(SAMPLES)
    )
    for name in ("rgb", "opacity"):
        error = (getattr(marched, name) - getattr(plain, name)).detach().abs()
        assert float(error.max()) < 0.15
        assert float(error.mean()) < 0.02
    found, expected = gradients(volume, marched), gradients(volume, plain)
    for one, other in zip(found, expected, strict=True):
        assert float(torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0)) > 0.98


def test_light_through_an_even_fog_falls_off_exponentially() -> None:
    class Fog:
        def density(self, points: Tensor) -> Tensor:
            return torch.full_like(points[:, 0], 0.7)

        def shaded(self, points: Tensor) -> tuple[Tensor, Tensor]:
            return self.density(points), torch.ones_like(points)

    camera = ring(1, elevation_deg=0.0, distance=4.0)
    marched = march(Fog(), camera, 1, backdrop=torch.zeros_like)
    # The central ray goes through the cube along x: two half sides.
    expected = 1 - math.exp(-0.7 * 2)
    assert float(marched.opacity) == pytest.approx(expected, abs=5e-3)
    assert marched.rgb.flatten().tolist() == pytest.approx([expected] * 3, abs=5e-3)


def test_depth_and_coordinates_are_those_of_the_surface() -> None:
    solid = Ellipsoid((0.3, 0.2, 0.25), thickness=3000.0, sharpness=400.0)
    camera = ring(5, elevation_deg=20.0)
    marched = march(solid, camera, 15, backdrop=torch.ones_like)
    rays, hit = rays_of(camera, 15), marched.opacity.flatten() > 0.999
    axes = torch.tensor(solid.axes)
    origin, along = (rays.origins / axes)[hit], (rays.directions / axes)[hit]
    half_b, a = (origin * along).sum(-1), (along * along).sum(-1)
    away = (-half_b - (half_b**2 - a * ((origin * origin).sum(-1) - 1)).clamp_min(0).sqrt()) / a
    places = rays.origins[hit] + away[:, None] * rays.directions[hit]
    coordinates = marched.coordinates.permute(0, 2, 3, 1).reshape(-1, 3)[hit]
    assert int(hit.sum()) > 60
    assert float((coordinates - places).norm(dim=-1).median()) < 0.005
    assert_close(marched.depth.flatten()[hit], camera.see(coordinates)[0:1, :, 2].flatten(), atol=1, rtol=1)
    _, depth = camera[0].project(coordinates[: int(hit.view(5, -1)[0].sum())])
    assert_close(marched.depth.flatten()[hit][: depth.shape[1]], depth[0], atol=1e-4, rtol=1e-4)


def test_samples_lie_in_the_cube_a_step_apart() -> None:
    rays = rays_of(cameras(), SIZE)
    distance, is_inside = sample_places(rays, shifts(), SAMPLES)
    places = rays.origins[:, None] + distance[..., None] * rays.directions[:, None]
    assert_close(distance.diff(dim=1), torch.full_like(distance[:, 1:], step_length(SAMPLES) / 2), atol=1e-5, rtol=0)
    assert float(places[is_inside].abs().max()) <= 0.5 + 1e-5
    assert not bool(is_inside[:, -1].any())
    assert is_inside.any(dim=1).float().mean() > 0.5


def test_rays_that_miss_the_cube_show_the_backdrop() -> None:
    away = ring(1, elevation_deg=0.0, fov_deg=120.0, distance=20.0)
    marched = march(Ellipsoid(), away, 4, backdrop=lambda directions: torch.full_like(directions, 0.3))
    assert_close(marched.rgb[:, :, 0, 0], torch.full((1, 3), 0.3))
    assert float(marched.opacity[0, 0, 0, 0]) == 0


def test_rays_go_through_the_pixels_centres() -> None:
    rays = rays_of(cameras(), SIZE)
    points = (rays.origins + 1.7 * rays.directions).view(4, -1, 3)
    places, depth = cameras().project(points)
    column = (places[..., 0] + 1) / 2 * SIZE
    assert_close(column.view(4, SIZE, SIZE), (torch.arange(SIZE) + 0.5).expand(4, SIZE, SIZE), atol=1e-4, rtol=0)
    assert_close(depth.flatten(), 1.7 * rays.axial, atol=1e-5, rtol=0)


def test_full_cells_are_those_of_the_object_and_fade_slowly() -> None:
    occupancy = Occupancy(step_length(512), torch.device("cpu"))
    assert bool(occupancy.is_full(torch.rand(50, 3) - 0.5).all())
    for look in range(5):
        occupancy.update(Ellipsoid(), torch.Generator().manual_seed(look))
    inside = torch.tensor([[0.0, 0, 0], [0.35, 0, 0], [0, 0.15, 0], [0, 0, 0.2]])
    assert bool(occupancy.is_full(inside).all())
    assert not bool(occupancy.is_full(torch.tensor([[0.0, 0.4, 0], [0, 0, 0.45], [-0.49, 0.49, 0.49]])).any())
    gone = Ellipsoid(thickness=0.0)
    occupancy.update(gone, torch.Generator().manual_seed(0))
    assert bool(occupancy.is_full(inside).all())
