"""What the benchmark of prompts counts is what a job asks for, and the official form is the official code's."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.methods.sd_correspondence import FRAME, Preset, QueryPoint, SdCorrespondenceParams
from benchmarks.sd_correspondence.__main__ import summary
from benchmarks.sd_correspondence.bed import OFFSET, BedRow, in_target, laid_out, matrix, scattered
from benchmarks.sd_correspondence.counts import Counts, counted
from benchmarks.sd_correspondence.gpu import begun
from benchmarks.sd_correspondence.networks import tiny_networks
from benchmarks.sd_correspondence.pieces import Pieces, count_pieces
from benchmarks.sd_correspondence.speed import SpeedRow, Speeds
from benchmarks.sd_correspondence.work import authors_tflop, work_rows
from tests.workers.backbones.diffusion.tiny import context, picture, tiny_unet, tiny_vae
from workers.backbones.base import Compute, Tick, no_tick
from workers.backbones.diffusion.attention import AttentionReader
from workers.backbones.diffusion.networks import DiffusionNetworks
from workers.backbones.diffusion.schedule import noised
from workers.backbones.diffusion.vae import VaeEncoder
from workers.evaluation.attention_bed import CanonicalReader, canonical_picture
from workers.evaluation.official_prompts import Cropping, OfficialNetwork, averaged, found, optimised, peak_loss
from workers.methods.sd_correspondence.crops import crops_of
from workers.methods.sd_correspondence.optimisation import Draws, Group, Optimisation
from workers.methods.sd_correspondence.options import Options, options_of
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.pipeline import find_queries
from workers.methods.sd_correspondence.reader import generator
from workers.methods.sd_correspondence.scene import LiveFeatures, Scene
from workers.methods.sd_correspondence.transfer import Target, read

SIZE = 256
PLACE = (103.0, 158.0)
PIECES = Pieces(1116.7, 40.9, 481.7, 0.7, 473.5, 1.3, 803.3, 470.5)


@pytest.fixture(scope="module")
def networks() -> DiffusionNetworks:
    unet, vae = tiny_unet().requires_grad_(False), VaeEncoder(tiny_vae()).requires_grad_(False)
    return DiffusionNetworks("tiny", "", Compute(), unet, vae)


@pytest.fixture(scope="module")
def official(networks: DiffusionNetworks) -> OfficialNetwork:
    return OfficialNetwork(networks.unet, networks.vae)


def settings(preset: Preset = "official", **tuning: Any) -> Options:
    return options_of(SdCorrespondenceParams.model_validate({"preset": preset, "working_size": SIZE, "tuning": tuning}))


def test_the_official_form_gives_the_official_code_s_maps_and_loss(official: OfficialNetwork) -> None:
    latents = official.encode(picture(SIZE, SIZE))
    noisy = noised(latents, torch.full_like(latents, 0.5), 140)
    maps = official.attention(noisy, 140, context(), SIZE)
    means = [0.01303558, 0.00894981, 0.01227137, 0.00487690]
    np.testing.assert_allclose(maps.mean((1, 2, 3)), means, rtol=1e-4)
    assert float(peak_loss(maps, (0.4, 0.6), 13.98926658158432)) == pytest.approx(0.00915217, rel=1e-4)


def test_the_official_preset_learns_what_the_official_form_learns(
    networks: DiffusionNetworks, official: OfficialNetwork
) -> None:
    options, image, reader = settings(rounds=1, steps=2), picture(SIZE, SIZE)[0], AttentionReader(networks)
    crops = crops_of(SIZE, options.crop_percent)
    start = torch.randn((1, *reader.embedding_shape), generator=generator("a", "embedding", 0))
    cropping, source = Cropping(SIZE, crops.side), generator("a", 0)
    rate = options.learning_rate
    prompt, losses = optimised(
        official, image, PLACE, start, cropping=cropping, sigma=options.sigma, steps=2, rate=rate, source=source
    )
    scene = Scene(reader, image, crops, tick=no_tick)
    group = Group(torch.tensor([PLACE]), ("a",))
    live, passes = LiveFeatures(scene, 140), Passes(reader, print, items=1)
    optimisation = Optimisation(reader, live, [group], Draws(crops, []), options, passes)
    for _ in range(2):
        optimisation.step()
    np.testing.assert_allclose(optimisation.losses[:, 0], losses, rtol=1e-5)
    moved = (prompt - start).abs().max()
    assert float((optimisation.embeddings[0, 0] - prompt[0]).abs().max()) < 0.05 * float(moved)


def test_the_official_preset_finds_what_the_official_form_finds(
    networks: DiffusionNetworks, official: OfficialNetwork
) -> None:
    options, image, reader = settings(rounds=1, read_crops=5), picture(SIZE, SIZE)[0], AttentionReader(networks)
    crops = crops_of(SIZE, options.crop_percent)
    cropping, source = Cropping(SIZE, crops.side), generator("a", "reading", 0)
    maps = averaged(official, image, context(), cropping=cropping, crops=5, source=source)
    scene = Scene(reader, image, crops, tick=no_tick)
    target = Target(scene, LiveFeatures(scene, 40), torch.ones(SIZE, SIZE, dtype=torch.bool), ("a",), [])
    passes = Passes(reader, print, items=1)
    ((ours,),) = read(target, context()[None], 1, reader, options, passes, tick=no_tick)
    assert (ours.x, ours.y) == found([maps])
    assert ours.peak == pytest.approx(float(maps.mean(0).max()), rel=1e-4)


class Asked(CanonicalReader):
    """Counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()
        self.is_live = True

    def encode(self, pictures: Tensor, *, tick: Tick = no_tick) -> Tensor:
        self.counts += Counts(encoded=len(pictures))
        return super().encode(pictures, tick=tick)

    def features(
        self, noisy: Tensor, timestep: int, contexts: Tensor, owners: Tensor, *, tick: Tick = no_tick
    ) -> list[Tensor]:
        self.counts += Counts(entered=len(noisy), ran=len(owners))
        return super().features(noisy, timestep, contexts, owners, tick=tick)

    def attend(self, features: Sequence[Tensor], embeddings: Tensor, tokens: int) -> list[Tensor]:
        items, is_step = len(embeddings), embeddings.requires_grad
        live_step = Counts(attended=items, returned=items) if self.is_live else Counts(fixed_steps=items)
        self.counts += live_step if is_step else Counts(attended=items)
        return super().attend(features, embeddings, tokens)


# How joint points are grouped on the way back depends on what was found.
@pytest.mark.parametrize(("preset", "cycle"), [("official", True), ("fast", True), ("joint", False), ("cached", True)])
def test_a_job_asks_for_what_is_counted(preset: Preset, cycle: bool) -> None:
    points = np.array([(256.0, 180.0), (300.0, 330.0), (205.0, 307.0)])
    # Such crops are all seen, whatever is drawn.
    tuning = {"rounds": 2, "steps": 8, "read_crops": 5}
    tuning |= {"crop_percent": 100} if preset == "official" else {"crop_bank": 2}
    queries = [QueryPoint(image=0, x=x, y=y) for x, y in points.tolist()]
    params = SdCorrespondenceParams.model_validate(
        {"preset": preset, "queries": queries, "targets": [1], "cycle": cycle, "working_size": SIZE, "tuning": tuning}
    )
    reader, options = Asked(), options_of(params)
    reader.is_live = not options.fixed_features
    find_queries(laid_out(params, reader, 0))
    places, targets = (found * SIZE / FRAME for found in (points, in_target(points)))
    assert reader.counts == counted(options, places, targets, steps=8, cycle=cycle)


def test_points_lie_where_both_pictures_have_the_same_colours() -> None:
    points = scattered(16)
    np.testing.assert_array_equal(points[:10], scattered(10))
    source, target = canonical_picture(np.eye(2), np.zeros(2)), canonical_picture(matrix(), OFFSET)
    for (x, y), (u, v) in zip(points.astype(int), in_target(points).astype(int), strict=True):
        np.testing.assert_allclose(source[:, y, x], target[:, v, u], atol=2 / FRAME)


def test_pieces_cost_what_is_known_of_the_official_functions() -> None:
    pieces = count_pieces()
    known = (pieces.encode, pieces.official_forward, pieces.official_back)
    np.testing.assert_allclose(known, (1116.7, 803.3, 470.5), atol=0.1)
    np.testing.assert_allclose((pieces.features, pieces.back), (479.4, 470.5), rtol=0.01)
    assert pieces.prefix == pytest.approx(41.9, abs=1.5)
    assert pieces.fixed_step < 0.005 * (pieces.features + pieces.back)


def test_a_query_of_the_official_code_costs_what_is_known() -> None:
    np.testing.assert_allclose(authors_tflop(PIECES, 1), (1542, 192), atol=0.5)


def test_a_step_of_the_measured_batch_learns() -> None:
    optimisation, passes = begun(AttentionReader(tiny_networks()), 2, SIZE)
    assert optimisation.step() == pytest.approx(0.009, abs=0.003)
    assert passes.items == 2


def test_the_summary_compares_presets_with_the_official_code() -> None:
    steps: dict[Preset, float] = {"official": 129, "fast": 64, "joint": 64, "cached": 64}
    work = work_rows(PIECES, steps)
    bed = [BedRow(preset, [1.0, 2.0], [1.0, 1.0], [2.0, 2.0], [0.2, 0.3], 64, 1, 1) for preset in steps]
    row = SpeedRow("fast", step_s=0.1, crop_s=0.5, crops=2, query_steps=10, readings=4, read_s=0.1)
    found = summary(bed, PIECES, work, Speeds(row, [row], 0.0), [])
    assert 1 < found["flop_ratio_official"] < found["flop_ratio_fast"] < found["flop_ratio_joint"]
    assert found["flop_ratio_joint"] < found["flop_ratio_cached"]
    ratio = found["flop_ratio_fast"] / found["flop_ratio_official"]
    assert found["flop_ratio_fast_to_own_official"] == pytest.approx(ratio, rel=0.01)
    assert found["bed_error_px"] == dict.fromkeys(steps, 1.5)
    assert row.whole_step_s == pytest.approx(0.2)
    assert found["query_speedup"] == {"fast": 1.0}
