"""How photographs are described: about a mean half their own, which a picture's look shifts along with its cells."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, normalize

from tests.workers.methods.congealing_3d.photographs import CPU, OPTIONS, inputs, scene_of
from workers.backbones.base import Tick, no_tick
from workers.evaluation.place_oracle import PlaceOracle
from workers.evaluation.shape_set import ShapeSet
from workers.matching.projection import Projection
from workers.methods.congealing_3d.observing import observe
from workers.methods.congealing_3d.pose.bank import Bank
from workers.methods.congealing_3d.pose.scoring import fit_scores


class Tinted(PlaceOracle):
    """An oracle to which everything in a picture looks a little alike, as in a photograph it does to a network."""

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        return super().extract(images, tick=tick) + self._others[0].view(-1, 1, 1)


@pytest.mark.parametrize("masked", [False, True])
def test_features_stand_about_a_mean_half_their_own(made: ShapeSet, masked: bool) -> None:
    scene, oracle = scene_of(inputs(made, masked=masked)), PlaceOracle()
    plain = Projection(torch.full((oracle.dim,), 0.1), torch.eye(oracle.dim), 1.0)
    seen = observe(scene, oracle, plain, OPTIONS, device=CPU, tick=no_tick)
    raw = adaptive_avg_pool2d(oracle.extract(scene.crops.pictures[:1]), OPTIONS.cells)
    share = torch.ones(1, 1, OPTIONS.cells, OPTIONS.cells)
    if scene.crops.masks is not None:
        share = adaptive_avg_pool2d(scene.crops.masks[:1], OPTIONS.cells)
    own = (raw * share).sum(dim=(2, 3), keepdim=True) / share.sum()
    expected = normalize(raw - (0.1 + own) / 2, dim=1) * (share > 0)
    torch.testing.assert_close(seen.features[:1], expected, atol=1e-5, rtol=1e-4)


def test_what_all_cells_of_a_photograph_share_counts_less(made: ShapeSet, bank: Bank) -> None:
    scene = scene_of(inputs(made))
    assert scene.crops.masks is not None
    masks = adaptive_avg_pool2d(scene.crops.masks, OPTIONS.cells)
    centred = observe(scene, Tinted(), bank.projection, OPTIONS, device=CPU, tick=no_tick).features
    raw = adaptive_avg_pool2d(Tinted().extract(scene.crops.pictures), OPTIONS.cells)
    uncentred = bank.projection(raw) * (masks > 0)
    best, without = (fit_scores(features, masks, bank).amax(dim=1) for features in (centred, uncentred))
    assert (best > without + 0.05).all()


def test_nothing_is_known_of_a_picture_beside_its_mask(made: ShapeSet, bank: Bank) -> None:
    scene = scene_of(inputs(made))
    assert scene.crops.masks is not None
    empty = replace(scene.crops, masks=torch.zeros_like(scene.crops.masks))
    seen = observe(replace(scene, crops=empty), PlaceOracle(), bank.projection, OPTIONS, device=CPU, tick=no_tick)
    assert not seen.features.any()
