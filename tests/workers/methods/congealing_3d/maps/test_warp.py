"""T9 of the spec: deformed instances, true cameras, features that tell the places, with noise."""

import pytest
import torch
from torch import Tensor

from tests.workers.methods.congealing_3d.maps.animals import Scene, as_warps, errors, scene
from workers.methods.congealing_3d.maps.matches import nearest_displacements
from workers.methods.congealing_3d.maps.warp import WarpOptions, Warps, find_warps
from workers.methods.congealing_3d.maps.warp_reference import find_warp_plainly

COUNT = 4


@pytest.fixture(scope="module")
def drawn() -> Scene:
    return scene(COUNT)


@pytest.fixture(scope="module")
def warps(drawn: Scene) -> Warps:
    return find_warps(drawn.features, drawn.mask, drawn.rendered, drawn.rendered_mask)


@pytest.fixture(scope="module")
def nearest(drawn: Scene) -> Tensor:
    sets = zip(drawn.features, drawn.mask, drawn.rendered, drawn.rendered_mask, strict=True)
    return torch.stack([nearest_displacements(*each)[0] for each in sets])


def mean_error(found: Tensor, other: Tensor) -> float:
    """Over the pixels that both know."""
    return float(found[found.isfinite() & other[: len(found)].isfinite()].mean())


def test_maps_are_right_and_better_than_nearest_neighbours(drawn: Scene, warps: Warps, nearest: Tensor) -> None:
    found, raw = errors(drawn, warps), errors(drawn, as_warps(nearest, drawn.mask))
    assert float(found.nanmean()) < 0.008
    assert mean_error(found, raw) < 0.7 * mean_error(raw, found)
    assert (found < 0.05).sum() > 0.97 * (drawn.real.mask > 0).sum()


def test_maps_are_no_worse_than_those_of_the_reference(drawn: Scene, warps: Warps, nearest: Tensor) -> None:
    options = WarpOptions(shrinkage=0.1, levels=(16, 32))
    plain = find_warp_plainly(drawn.features[0], drawn.mask[0], drawn.rendered[0], nearest[0], options, steps=300)
    reference, found = errors(drawn, as_warps(plain[None], drawn.mask[:1])), errors(drawn, warps[0])
    assert float(reference.nanmean()) < 0.015
    assert mean_error(found, reference) < 1.02 * mean_error(reference, found)


def test_the_same_warps_are_found_one_by_one(drawn: Scene, warps: Warps) -> None:
    last = slice(COUNT - 1, COUNT)
    alone = find_warps(drawn.features[last], drawn.mask[last], drawn.rendered[last], drawn.rendered_mask[last])
    torch.testing.assert_close(alone.displacement, warps.displacement[last], atol=2e-3, rtol=0)


def test_warps_agree_with_features(warps: Warps) -> None:
    inside = warps.mask > 0.9
    assert float(warps.cosine[inside].median()) > 0.95


def test_what_hides_the_object_does_not_drag_the_warp(drawn: Scene, warps: Warps) -> None:
    features, hidden = drawn.features.clone(), torch.zeros(COUNT, 1, 32, 32)
    generator = torch.Generator().manual_seed(0)
    for index in range(COUNT):
        cells = (drawn.mask[index, 0] > 0.9).nonzero()
        row, column = (cells[torch.randint(len(cells), (1,), generator=generator)][0] - 3).clamp(0).tolist()
        hidden[index, 0, row : row + 7, column : column + 7] = 1
    junk = torch.randn(1, 64, 1, 1, generator=generator) + 0.3 * torch.randn(features.shape, generator=generator)
    features = torch.where((hidden > 0) & (drawn.mask > 0), junk, features)
    free = hidden.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)[:, 0] == 0

    def error(outlier: float | None) -> float:
        options = WarpOptions(outlier=outlier)
        found = errors(drawn, find_warps(features, drawn.mask, drawn.rendered, drawn.rendered_mask, options))
        return float(found[free].nanmean())

    clean = float(errors(drawn, warps)[free].nanmean())
    assert error(WarpOptions().outlier) < 1.05 * clean
    assert error(WarpOptions().outlier) < error(None)


def test_images_without_an_object_or_a_render_give_finite_warps(drawn: Scene) -> None:
    mask, rendered_mask = drawn.mask[:2].clone(), drawn.rendered_mask[:2].clone()
    mask[0], rendered_mask[1] = 0, 0
    found = find_warps(drawn.features[:2], mask, drawn.rendered[:2] * (rendered_mask > 0), rendered_mask)
    assert found.displacement.isfinite().all()
    assert (found.displacement[0] == 0).all()
    assert found.cosine[1].abs().max() < 1e-6


def test_a_warp_in_progress_can_be_stopped(drawn: Scene) -> None:
    class StoppedError(Exception):
        pass

    def stop() -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        find_warps(drawn.features, drawn.mask, drawn.rendered, drawn.rendered_mask, tick=stop)
