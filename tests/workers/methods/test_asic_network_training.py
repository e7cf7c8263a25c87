"""Training ASIC's network on the analytic set, at tiny sizes."""

import functools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from workers.evaluation.analytic_matches import paired_points
from workers.evaluation.analytic_set import BACKGROUND, AnalyticSet, analytic_set
from workers.geometry.flows import dense_flow, identity_controls
from workers.geometry.joint_splines import PairedPoints
from workers.methods.asic.network.augmentation import augmented
from workers.methods.asic.network.canonical import identity
from workers.methods.asic.network.data import TrainingSet, training_set
from workers.methods.asic.network.objective import Weights
from workers.methods.asic.network.options import NetworkOptions, official, quality
from workers.methods.asic.network.pixel_distance import pixel_distance
from workers.methods.asic.network.training import TrainedMaps, Training, train

SIZE = 32
TINY = {"width": 1 / 16, "batch": 4, "iterations": 60, "period": 60}
OFFICIAL, QUALITY = replace(official(SIZE), **TINY), replace(quality(SIZE), **TINY, patience=None)
BOTH = pytest.mark.parametrize("options", [OFFICIAL, QUALITY], ids=["official", "quality"])


@functools.cache
def truth() -> AnalyticSet:
    return analytic_set(SIZE)


def paired(outliers: float = 0.0) -> PairedPoints:
    return paired_points(truth(), outliers)


def pictures() -> Tensor:
    return (torch.from_numpy(truth().pictures).permute(0, 3, 1, 2).float() + 1) / 2


def rendered(
    options: NetworkOptions, *, outliers: float = 0.0, start: Tensor | None = None, images: Tensor | None = None
) -> TrainingSet:
    parts = torch.from_numpy(truth().parts)
    labels, masks = torch.where(parts == BACKGROUND, -1, parts), torch.from_numpy(truth().masks)
    seen = pictures() if images is None else images
    return training_set(seen, masks, labels, paired(outliers), start, options, seed=1)


def residual(flows: Tensor) -> float:
    """Median distance of the true keypoints' places from picture to picture, as a share of their spread."""
    points = torch.from_numpy(truth().keypoints)
    places = torch.stack([flow[p[:, 1], p[:, 0]] for flow, p in zip(flows, points, strict=True)])
    apart = (places.unsqueeze(0) - places.unsqueeze(1)).norm(dim=3)[~torch.eye(len(flows), dtype=torch.bool)]
    return float(apart.median() / places.flatten(0, 1).std(dim=0).norm())


def bent() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    controls = identity_controls(6).expand(8, -1, -1, -1)
    return controls + 0.1 * torch.randn(controls.shape, generator=generator, dtype=torch.float64)


@BOTH
def test_learning_makes_the_loss_fall(options: NetworkOptions) -> None:
    training = Training(rendered(options), options, pixel_distance, seed=0)
    fixed = training.draw(1000)
    before = float(training.terms(*fixed).total(options.weights).detach())
    for step in range(15):
        training.step(*training.draw(step))
    after = float(training.terms(*training.draw(1000)).total(options.weights).detach())
    assert after < 0.98 * before


def test_maps_come_near_the_truth_though_a_fifth_of_the_matches_is_wrong() -> None:
    options = replace(QUALITY, width=1 / 8, batch=6, temperature=0.5, rate=0.006, iterations=50)
    maps = train(rendered(options, outliers=0.2), options, distance=pixel_distance)
    assert residual(maps.flows) < 0.75 * residual(identity(SIZE).expand(8, -1, -1, -1))
    assert float(maps.curve[-1, 2]) < 0.75 * float(maps.curve[0, 2])
    assert maps.curve[:, 0].tolist() == [0, 25, 50]
    assert maps.curve[:, 1].isnan().tolist() == [True, False, False]


@BOTH
def test_without_steps_the_start_is_returned(options: NetworkOptions) -> None:
    options = replace(options, iterations=0)
    maps = train(rendered(options, start=bent()), options, distance=pixel_distance)
    assert_close(maps.flows, (dense_flow(bent(), SIZE) * SIZE / (SIZE - 1)).float())
    assert maps.stopped_at == 0
    straight = train(
        rendered(options, start=identity_controls(6).expand(8, -1, -1, -1)), options, distance=pixel_distance
    )
    assert_close(straight.flows, identity(SIZE).expand(8, -1, -1, -1))
    assert torch.equal(train(rendered(options), options, distance=pixel_distance).flows[3], identity(SIZE))


def test_a_training_that_spoils_its_start_returns_the_start() -> None:
    true = (torch.from_numpy(truth().canonical) * (SIZE / (SIZE - 1))).float()
    blind = replace(QUALITY.weights, contrastive=0.0, total_variation=0.0)
    options = replace(QUALITY, iterations=1000, batch=2, rate=0.1, patience=1, weights=blind)
    maps = train(replace(rendered(options), start=true), options, distance=pixel_distance)
    assert torch.equal(maps.flows, true)
    assert maps.stopped_at == 50
    assert float(maps.grid.std()) > 0.11


class Recorder:
    """Hooks that keep the states of all steps."""

    def __init__(self, resume: dict[str, Tensor] | None = None) -> None:
        self.resume = resume
        self.stages: list[str] = []
        self.states: list[dict[str, Tensor]] = []
        self.metrics: list[dict[str, float]] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def step(
        self, step: int, total: int, *, state: Callable[[], dict[str, Tensor]] | None = None, **metrics: float
    ) -> None:
        assert 0 < step <= total
        assert state is not None
        self.states.append(state())
        self.metrics += [metrics] if metrics else []


def same(first: TrainedMaps, second: TrainedMaps) -> bool:
    curves = first.curve.nan_to_num(-1), second.curve.nan_to_num(-1)
    pairs = [(first.flows, second.flows), (first.grid, second.grid), curves]
    return all(torch.equal(a, b) for a, b in pairs) and first.stopped_at == second.stopped_at


@BOTH
def test_resuming_from_any_state_ends_bit_by_bit_the_same(options: NetworkOptions) -> None:
    total, moments = (27, (12, 24)) if options.compat else (51, (26, 49))
    options = replace(options, iterations=total, batch=2, matches=8)
    data, recorder = rendered(options), Recorder()
    expected = train(data, options, distance=pixel_distance, seed=3, hooks=recorder)
    assert recorder.stages == ["network"]
    assert len(recorder.states) == total
    assert ["residual" in metrics for metrics in recorder.metrics] == (
        [False] * 2 if options.compat else [False, True, True]
    )
    for moment in (*moments, total - 1):
        resumed = Recorder(recorder.states[moment])
        assert same(train(data, options, distance=pixel_distance, seed=3, hooks=resumed), expected), moment
        assert resumed.stages == ["network"][: total - 1 - moment]


def test_seed_decides() -> None:
    options = replace(QUALITY, iterations=1, batch=2)
    first, again, other = (train(rendered(options), options, distance=pixel_distance, seed=seed) for seed in (0, 0, 1))
    assert same(first, again)
    assert not same(first, other)


def test_a_checkpoint_of_something_else_is_refused() -> None:
    options = replace(QUALITY, iterations=1)
    recorder = Recorder()
    train(rendered(options), options, distance=pixel_distance, hooks=recorder)
    wider = replace(options, width=1 / 8)
    with pytest.raises(ValueError, match=r"the checkpoint has network\..*; start the job afresh"):
        train(rendered(wider), wider, distance=pixel_distance, hooks=Recorder(recorder.states[0]))
    with pytest.raises(ValueError, match="lacks network"):
        train(rendered(options), options, distance=pixel_distance, hooks=Recorder({"grid": torch.zeros(1)}))


def test_only_official_maps_depend_on_companions() -> None:
    for options, depends in ((OFFICIAL, True), (QUALITY, False)):
        data = rendered(options)
        training = Training(data, options, pixel_distance, seed=0)
        for step in range(2):
            training.step(*training.draw(step))
        others = replace(data, pictures=torch.cat([data.pictures[:1], -data.pictures[1:]]))
        mixed = Training(others, options, pixel_distance, seed=0)
        mixed.state.restore(training.state.tensors())
        assert torch.equal(training.flows()[0], mixed.flows()[0]) != depends


def test_official_pairs_are_never_all_of_a_picture_with_itself() -> None:
    data = rendered(OFFICIAL)
    two = replace(data, pictures=data.pictures[:2])
    drawn = torch.stack([two.pairs(2, torch.Generator().manual_seed(seed), compat=True) for seed in range(100)])
    selves = (drawn[..., 0] == drawn[..., 1]).sum(dim=1)
    assert set(selves.tolist()) == {0, 1}


def test_other_pairs_all_have_matches() -> None:
    few = paired()
    few.weights[1:] = 0
    masks = torch.from_numpy(truth().masks)
    data = training_set(pictures(), masks, masks.long() - 1, few, None, QUALITY)
    drawn = data.pairs(50, torch.Generator().manual_seed(0), compat=False)
    assert {tuple(pair) for pair in drawn.tolist()} == {(0, 1), (1, 0)}


@BOTH
def test_matches_keep_their_partners_and_a_tenth_is_held_out_unless_official(options: NetworkOptions) -> None:
    data, given = rendered(options, outliers=0.2), truth().matches(0.2)
    shown = 0
    for (i, j), matches in given.items():
        expected = {(*a, *b) for a, b in zip(matches.first_px.tolist(), matches.second_px.tolist(), strict=True)}
        kept = data.visible[i, j] > 0
        found = torch.cat([data.points_px[i, j], data.points_px[j, i]], dim=1)
        assert {tuple(row) for row in found[kept].round().int().tolist()} <= expected
        assert found[~kept].abs().sum() == 0
        assert torch.equal(data.visible[i, j], data.visible[j, i])
        shown += int(kept.sum())
    total = sum(len(matches.first_px) for matches in given.values())
    held = data.held_out.pixels.shape[1]
    assert shown + held == total
    assert (held == 0) if options.compat else (0.07 * total < held < 0.13 * total)


def test_the_sampled_matches_are_visible_ones() -> None:
    data, generator = rendered(QUALITY), torch.Generator().manual_seed(0)
    pairs = data.pairs(6, generator, compat=False)
    slots = [data.slots(pairs, 5, generator, compat=False) for _ in range(2)]
    assert slots[0] is not None
    assert not torch.equal(slots[0], slots[1])
    assert (data.batch(pairs, slots[0]).visible > 0).all()


def test_a_set_is_brought_to_the_size_of_training() -> None:
    small = replace(QUALITY, image_size=16)
    data, full = rendered(small), rendered(QUALITY)
    assert data.pictures.shape == (8, 3, 16, 16)
    assert float(data.masks.mean()) == pytest.approx(float(full.masks.mean()), abs=0.02)
    assert data.parts_count == BACKGROUND + 1
    assert_close(data.points_px, ((full.points_px + 0.5) / 2 - 0.5) * (full.visible > 0).unsqueeze(3))


@BOTH
def test_a_loss_that_is_not_finite_stops_the_run(options: NetworkOptions) -> None:
    options = replace(options, iterations=30, batch=2)
    images = pictures()
    images[:, 0, 3, 3] = torch.nan
    with pytest.raises(ArithmeticError, match="no longer finite at step 25 of the network stage"):
        train(rendered(options, images=images), options, distance=pixel_distance)


def test_official_augmentation_loses_what_is_below_zero() -> None:
    x = 2 * pictures().repeat(8, 1, 1, 1) - 1
    spoiled, kept = (augmented(x, torch.Generator().manual_seed(0), compat=compat) for compat in (True, False))
    assert 0.7 < float((spoiled.amin(dim=(1, 2, 3)) >= 0).float().mean()) < 0.95
    assert kept.amin() >= -1.0001
    assert kept.amax() <= 1.0001
    assert float((kept.amin(dim=(1, 2, 3)) < -0.2).float().mean()) > 0.9
    assert 0.01 < float((kept == x).all(dim=3).all(dim=2).all(dim=1).float().mean()) < 0.3


def test_settings() -> None:
    assert (official().iterations, official().batch, official().weights) == (20_000, 20, Weights())
    assert quality().weights.total_variation == 15_000 / 4
    with pytest.raises(ValueError, match="batch is 3; use an even number"):
        replace(QUALITY, batch=3)
    with pytest.raises(ValueError, match="width is 0; use a positive number"):
        replace(QUALITY, width=0)
    with pytest.raises(ValueError, match="unwarp_size is 8; use at least 16"):
        replace(QUALITY, unwarp_size=8)
    with pytest.raises(ValueError, match="never stops early"):
        replace(OFFICIAL, patience=3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pictures": torch.zeros(8, 3, 32, 30)}, r"use \(N, 3, R, R\)"),
        ({"pictures": torch.zeros(1, 3, 32, 32)}, "at least 2"),
        ({"masks": torch.zeros(8, 16, 16)}, "masks are"),
        ({"start": torch.zeros(8, 6, 6)}, r"use \(8, 2, n, n\)"),
        ({"matches": replace(paired(), second=paired().first)}, "each once"),
        ({"matches": replace(paired(), weights=0 * paired().weights)}, "no matches"),
    ],
)
def test_bad_inputs_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "pictures": torch.zeros(8, 3, 32, 32),
        "masks": torch.ones(8, 32, 32),
        "labels": torch.zeros(8, 32, 32, dtype=torch.int64),
        "matches": paired(),
        "start": None,
        "options": QUALITY,
    }
    with pytest.raises(ValueError, match=message):
        training_set(**{**arguments, **change})  # type: ignore[arg-type]
