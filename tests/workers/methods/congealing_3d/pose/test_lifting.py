import torch

from workers.evaluation.place_oracle import PlaceOracle
from workers.evaluation.procedural_shapes import animal
from workers.methods.congealing_3d.pose.bank import Bank, SurfaceReader
from workers.methods.congealing_3d.pose.lifting import read_at, sampled_surface, seen_features
from workers.rendering.rasteriser import pixel_centres


def test_cells_are_read_at_their_centres_and_nothing_beyond_the_crop() -> None:
    features = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    windows = torch.tensor([[0.3, -0.2, 0.5], [0.0, 0.4, 1.5]])
    found = read_at(features, windows, pixel_centres(windows, 4).flatten(1, 2))
    torch.testing.assert_close(found, features.flatten(2).transpose(1, 2))
    assert read_at(features, windows, torch.full((2, 1, 2), 3.0)).abs().max() == 0


def test_points_of_the_surface_get_the_features_of_their_places(reader: SurfaceReader, bank: Bank) -> None:
    samples = sampled_surface(reader.surface, bank, count=400, seed=0)
    nearest = torch.cdist(samples.points, torch.from_numpy(animal(0).mesh.vertices)).argmin(dim=1)
    places = torch.from_numpy(animal(0).places)[nearest]
    true = bank.projection(PlaceOracle().features(places).T[None, :, :, None])[0, :, :, 0].T
    known = samples.features.norm(dim=1) > 0
    assert known.float().mean() > 0.9
    cosine = (samples.features * true).sum(dim=1)[known]
    assert cosine.median() > 0.97
    assert cosine.quantile(0.1) > 0.8


def test_a_view_shows_the_points_that_face_it(reader: SurfaceReader, bank: Bank) -> None:
    samples = sampled_surface(reader.surface, bank, count=400, seed=0)
    rows = torch.tensor([3, 40, 99])
    cameras = bank.grid.cameras[rows]
    found, visible = seen_features(bank.features[rows], bank.windows[rows], cameras, samples)
    facing = ((cameras.centres[:, None] - samples.points) * samples.normals).sum(dim=-1) > 0
    assert not (visible & ~facing).any()
    assert 0.2 < float(visible.float().mean()) < 0.6
    assert found[~visible].abs().max() == 0
    assert (found * samples.features).sum(dim=-1)[visible].median() > 0.95
    torch.testing.assert_close(found[visible].norm(dim=-1), torch.ones(int(visible.sum())))
