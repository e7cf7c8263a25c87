from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.workers.methods.congealing_3d.photographs import OPTIONS
from workers.backbones.base import Tick, no_tick
from workers.evaluation.place_oracle import PlaceOracle, place_coloured
from workers.evaluation.procedural_shapes import animal
from workers.methods.congealing_3d.pose.bank import Bank, SurfaceReader, build_bank
from workers.methods.congealing_3d.pose.grid import GridOptions, pose_grid, tight_windows
from workers.rendering.surface import Surface

FEW = GridOptions(azimuths=5, elevations=2, fovs_deg=(40.0,))


class SmallMemory(PlaceOracle):
    """An oracle whose memory holds so many pictures."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room

    def extract(self, images: Tensor, *, tick: Tick = no_tick) -> Tensor:
        if len(images) > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return super().extract(images, tick=tick)


def test_features_are_unit_vectors_where_the_shape_is_seen_and_nothing_elsewhere(bank: Bank) -> None:
    length = bank.features.norm(dim=1, keepdim=True)
    seen = bank.masks > 0
    assert len(bank) == 256
    assert bank.features.shape == (256, len(bank.projection.basis), 16, 16)
    torch.testing.assert_close(length[bank.masks == 1], torch.ones(int((bank.masks == 1).sum())))
    assert length[~seen].max() == 0
    assert 0.15 < float(bank.masks.mean()) < 0.8
    assert bank.masks.max() <= 1


def test_the_tight_views_reach_the_borders_of_their_windows(bank: Bank) -> None:
    covered = bank.masks[:, 0] > 0
    touches = covered[:, [0, -1]].any(dim=(1, 2)) | covered[:, :, [0, -1]].any(dim=(1, 2))
    assert touches.all()


def test_views_are_told_of_in_steps(reader: SurfaceReader, bank: Bank) -> None:
    told: list[tuple[int, int]] = []
    ticks: list[int] = []
    cameras, windows = bank.grid.cameras[:20], bank.windows[:20]
    features, masks = reader.seen(
        cameras,
        windows,
        bank.projection,
        tick=lambda: ticks.append(0),
        step=lambda done, total: told.append((done, total)),
    )
    assert told == [(16, 20), (20, 20)]
    assert len(ticks) >= 2
    torch.testing.assert_close(features, bank.features[:20])
    torch.testing.assert_close(masks, bank.masks[:20])
    none, no_masks = reader.seen(cameras[:0], windows[:0], bank.projection)
    assert none.shape == (0, *bank.features.shape[1:])
    assert no_masks.shape == (0, 1, 16, 16)


def test_when_memory_runs_out_fewer_views_are_described_at_once(reader: SurfaceReader, bank: Bank) -> None:
    said: list[str] = []
    small = SurfaceReader(reader.surface, SmallMemory(3), OPTIONS, log=said.append)
    features, _ = small.seen(bank.grid.cameras[:10], bank.windows[:10], bank.projection)
    torch.testing.assert_close(features, bank.features[:10])
    assert small.batch == 2
    assert said[0] == "Memory ran out for 16 views at once; going on with 8."
    assert len(said) == 3


def test_a_lack_of_memory_for_a_single_view_is_an_error(reader: SurfaceReader, bank: Bank) -> None:
    small = SurfaceReader(reader.surface, SmallMemory(0), OPTIONS)
    with pytest.raises(torch.OutOfMemoryError):
        small.seen(bank.grid.cameras[:4], bank.windows[:4], bank.projection)


def test_other_errors_are_not_taken_for_a_lack_of_memory(reader: SurfaceReader, bank: Bank) -> None:
    tiny = SurfaceReader(reader.surface, PlaceOracle(), replace(OPTIONS, size=16))
    with pytest.raises(ValueError, match="16 x 16 pixels; give at least"):
        tiny.seen(bank.grid.cameras[:2], bank.windows[:2], bank.projection)


def test_a_bank_has_fewer_components_where_features_span_less() -> None:
    flat = Surface.of(place_coloured(animal(0)))
    grey = Surface(flat.vertices, flat.faces, torch.full_like(flat.vertices, 0.5))
    bank = build_bank(SurfaceReader(grey, PlaceOracle(), OPTIONS), pose_grid(FEW))
    assert bank.features.shape[1] < 64
    assert torch.isfinite(bank.features).all()
    torch.testing.assert_close(bank.windows, tight_windows(grey, bank.grid.cameras))
