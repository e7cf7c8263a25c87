from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from alignment.sampling import ImageSize
from api_schemas.methods.nearest_neighbors import NearestNeighborsParams
from workers.evaluation.place_oracle import PlaceOracle, oracle_provider, place_coloured
from workers.evaluation.procedural_shapes import animal, bench
from workers.evaluation.shape_set import ShapeSet, drawn_set
from workers.methods.base import InputImage
from workers.methods.nearest_neighbors.pipeline import NearestNeighbors
from workers.rendering.surface import Surface
from workers.rendering.views import render
from workers.run_context import Run

SIDE = 160
STRIDE = 4
CENTRE = torch.tensor([[0.0, 0.0, 1.0]])


@cache
def drawn(*, cluttered: bool = False) -> ShapeSet:
    return drawn_set([animal(0), animal(2)], 4, 3, size=(SIDE, SIDE), look="places", cluttered=cluttered)


def pictures(made: ShapeSet) -> Tensor:
    return torch.from_numpy(np.stack(made.pictures)).permute(0, 3, 1, 2).float() / 255


def truth(made: ShapeSet) -> tuple[Tensor, Tensor]:
    """Places (N, 3, S, S) of the cells and where all of a cell shows the object (N, S, S)."""
    places = torch.from_numpy(np.stack(made.coordinates)).permute(0, 3, 1, 2)
    cells = torch.nn.functional.avg_pool2d(places, STRIDE)
    return cells, cells.isfinite().all(dim=1)


def cosines(features: Tensor, made: ShapeSet) -> Tensor:
    places, known = truth(made)
    wanted = PlaceOracle(stride=STRIDE).features(places.permute(0, 2, 3, 1)[known])
    found = features.permute(0, 2, 3, 1)[known]
    return (wanted * found).sum(dim=-1) / found.norm(dim=-1)


@pytest.mark.parametrize("cluttered", [False, True])
def test_features_say_which_place_a_cell_shows(*, cluttered: bool) -> None:
    made = drawn(cluttered=cluttered)
    features = PlaceOracle(stride=STRIDE).extract(pictures(made))
    assert features.shape == (4, 64, SIDE // STRIDE, SIDE // STRIDE)
    found = cosines(features, made)
    assert len(found) > 400
    assert found.median() > 0.999
    assert (found < 0.95).float().mean() < 0.03


def test_features_have_length_one_and_near_places_similar_ones() -> None:
    oracle = PlaceOracle()
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(4000, 3, generator=generator) * 0.7 - 0.35
    moved = places + 0.1 * torch.nn.functional.normalize(torch.randn(4000, 3, generator=generator), dim=1)
    features = oracle.features(places)
    torch.testing.assert_close(features.norm(dim=1), torch.ones(4000))
    assert float((features * oracle.features(moved)).sum(dim=1).mean()) == pytest.approx(np.exp(-18 * 0.01), abs=0.05)


def test_nothing_is_described_by_nothing_and_clutter_by_other_features() -> None:
    outside = [torch.from_numpy(~mask).float()[None, None] for mask in drawn().masks]
    far = torch.cat([1 - torch.nn.functional.max_pool2d(1 - each, 5, 1, 2) for each in outside])
    free = torch.nn.functional.avg_pool2d(far, STRIDE)[:, 0] == 1
    plain = PlaceOracle(stride=STRIDE).extract(pictures(drawn())).permute(0, 2, 3, 1)[free]
    assert (plain == 0).all()
    clutter = PlaceOracle(stride=STRIDE).extract(pictures(drawn(cluttered=True))).permute(0, 2, 3, 1)[free]
    torch.testing.assert_close(clutter.norm(dim=1), torch.ones(len(clutter)))
    on_object = PlaceOracle().features(torch.from_numpy(animal(0).places[::50]))
    assert float((clutter @ on_object.T).max()) < 0.7


def test_a_view_of_the_place_coloured_template_has_the_picture_s_features() -> None:
    made = drawn()
    view = render(Surface.of(place_coloured(animal(0))), made.cameras[0], CENTRE, SIDE)
    oracle = PlaceOracle(stride=STRIDE)
    _, known = truth(made)
    seen, shown = (oracle.extract(each)[0][:, known[0]] for each in (view.rgb, pictures(made)[:1]))
    assert float((seen * shown).sum(dim=0).mean()) > 0.995


def test_crops_of_any_size_are_described() -> None:
    picture = pictures(drawn())[:1]
    oracle = PlaceOracle(stride=STRIDE)
    whole = oracle.extract(picture)
    np.testing.assert_allclose(oracle.extract(picture[..., 40:120, 24:128]), whole[..., 10:30, 6:32], atol=2e-2)


def test_noise_is_as_long_as_asked_for_and_the_same_for_the_same_picture() -> None:
    made = drawn()
    clean = PlaceOracle(stride=STRIDE).extract(pictures(made))
    oracle = PlaceOracle(stride=STRIDE, noise=0.5)
    noisy = oracle.extract(pictures(made))
    shown = clean.norm(dim=1) > 0
    added = (noisy - clean).norm(dim=1)
    assert float(added[shown].mean()) == pytest.approx(0.5, rel=0.05)
    assert (added[~shown] == 0).all()
    torch.testing.assert_close(oracle.extract(pictures(made)[2:3])[0], noisy[2])
    torch.testing.assert_close(PlaceOracle(stride=STRIDE, noise=0.5).extract(pictures(made)), noisy)
    other = PlaceOracle(stride=STRIDE, noise=0.5, seed=1)
    assert other.identity != oracle.identity


def test_a_symmetric_bench_looks_the_same_from_both_ends_and_an_asymmetric_one_does_not() -> None:
    def likeness_of_ends(asymmetry: float) -> float:
        made = drawn_set([bench(asymmetry)], 1, 0, size=(SIDE, SIDE), look="places")
        half_turn = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
        camera = made.cameras[0]
        back = type(camera)(camera.rotation @ half_turn, camera.translation, camera.focal)
        surface = Surface.of(place_coloured(bench(asymmetry)))
        views = [render(surface, each, CENTRE, SIDE).rgb for each in (camera, back)]
        one, other = (PlaceOracle(stride=STRIDE).extract(view)[0] for view in views)
        shown = (one.norm(dim=0) > 0) & (other.norm(dim=0) > 0)
        return float((one * other).sum(dim=0)[shown].mean())

    assert likeness_of_ends(0.0) > 0.98
    assert likeness_of_ends(0.1) < likeness_of_ends(0.0) - 0.02
    assert likeness_of_ends(0.5) < 0.7


def test_a_whole_method_runs_on_the_oracle() -> None:
    made = drawn()
    images = [InputImage(f"{index}.png", rgb) for index, rgb in enumerate(made.pictures)]
    provider = oracle_provider(stride=STRIDE)
    result = NearestNeighbors(provider).run(images, NearestNeighborsParams(working_size=256), Run.local())
    assert result.backbone == "oracle"
    assert result.form.images[0] == ImageSize(SIDE, SIDE)
    (start, seen), (end, also_seen) = made.seen_vertices(0), made.seen_vertices(1)
    both = np.nonzero(seen & also_seen)[0][::20]
    assert len(both) > 10
    found = result.form.transfer(start[both].astype(np.float64), source=0, target=1).points
    assert (np.linalg.norm(found - end[both], axis=1) < 0.1 * SIDE).mean() > 0.9
