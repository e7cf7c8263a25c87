"""Training an adapter: it learns, resumes, keeps the best, and refuses what it cannot learn from."""

import dataclasses
import math
from collections.abc import Callable, Mapping

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from tests.workers.methods.geo_aware_adapter.drawn import CELLS, TINY, random_set
from workers.methods.geo_aware_adapter import passes
from workers.methods.geo_aware_adapter.draws import drop
from workers.methods.geo_aware_adapter.network import Adapter
from workers.methods.geo_aware_adapter.options import official
from workers.methods.geo_aware_adapter.schedule import rate_and_momentum
from workers.methods.geo_aware_adapter.training import CURVE_COLUMNS, TrainedAdapter, Training, train


class Recorder:
    """Hooks that keep the states of all steps."""

    def __init__(self, resume: Mapping[str, Tensor] | None = None) -> None:
        self.resume = resume
        self.stages: list[str] = []
        self.states: list[dict[str, Tensor]] = []
        self.metrics: list[dict[str, float]] = []
        self.beats = 0
        self.within: dict[str, Tensor] = {}
        """Within the last step."""

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def step(
        self, step: int, total: int, *, state: Callable[[], dict[str, Tensor]] | None = None, **metrics: float
    ) -> None:
        assert 0 <= step <= total
        if not metrics:
            self.beats += 1
            self.within = state() if state else self.within
            return
        self.states.append(state())
        self.metrics.append(metrics)


def sharpness(adapter: Adapter) -> float:
    """A judge that depends on nothing but the weights."""
    return -abs(float(adapter.bottleneck_layers[0][0].conv1.weight.sum()) - 3.0)  # type: ignore[index, union-attr, operator]


def same(first: TrainedAdapter, second: TrainedAdapter) -> bool:
    assert first.weights.keys() == second.weights.keys()
    pairs = [(tensor, second.weights[name]) for name, tensor in first.weights.items()]
    pairs.append((first.curve.nan_to_num(-9), second.curve.nan_to_num(-9)))
    return all(torch.equal(a, b) for a, b in pairs) and first.best_step == second.best_step


@pytest.mark.parametrize("compat", [False, True])
def test_resuming_from_any_state_ends_bit_by_bit_the_same(compat: bool) -> None:
    options, data = dataclasses.replace(TINY, compat=compat), random_set(7, categories=2)
    recorder = Recorder()
    expected = train(data, options, seed=3, judge=sharpness, hooks=recorder)
    assert recorder.stages == ["training"]
    assert len(recorder.states) == options.steps == expected.steps
    assert all(math.isfinite(metrics["loss"]) for metrics in recorder.metrics)
    assert recorder.beats >= 3 * options.steps
    for moment in (0, 4, 6, options.steps - 1):
        resumed = Recorder(recorder.states[moment])
        assert same(train(data, options, seed=3, judge=sharpness, hooks=resumed), expected), moment
        assert len(resumed.states) == options.steps - 1 - moment
    assert same(train(data, options, seed=3, judge=sharpness, hooks=Recorder(recorder.within)), expected)


def test_seed_decides_and_nothing_else_does() -> None:
    data = random_set()
    first = train(data, TINY, seed=0)
    torch.randn(7)
    assert same(train(data, TINY, seed=0), first)
    assert not same(train(data, TINY, seed=1), first)


def test_a_checkpoint_of_something_else_is_refused() -> None:
    recorder = Recorder()
    train(random_set(), TINY, hooks=recorder)
    for change, message in (({"hidden": 8}, r"the checkpoint has adapter\."), ({"width": 16}, "the checkpoint lacks")):
        with pytest.raises(ValueError, match=message + r".*; start the job afresh"):
            train(random_set(), dataclasses.replace(TINY, **change), hooks=Recorder(recorder.states[0]))


def test_one_pair_is_learned_by_heart() -> None:
    """Random features tell places apart, though nothing in them is alike between the pictures."""
    generator = torch.Generator().manual_seed(0)
    data = dataclasses.replace(
        random_set(2, mirrored=False),
        blocks=tuple(torch.randn(2, channels, 30, 30, generator=generator) for channels in (16, 32, 32, 24)),
        cells=30,
        points=1 + 28 * torch.rand(2, 10, 2, generator=generator),
        visible=torch.ones(2, 10, dtype=torch.bool),
    )
    options = dataclasses.replace(
        official(100, "constant"), learning_rate=1.25e-3, dropout=0.0, noise=0.0, width=64, hidden=16, groups=8
    )
    for subcell in (False, True):
        training = Training(data, dataclasses.replace(options, subcell=subcell), seed=0)
        draw = training.draw(0)
        error = [float(training.step(draw).dense) for _ in range(100)]
        assert error[0] > 8
        assert error[50] < 2
        assert error[99] < 0.4


def test_the_best_weights_by_the_judge_are_kept() -> None:
    scores = iter([0.1, 0.5, 0.9, math.nan, 0.3, 0.9])
    seen: list[dict[str, Tensor]] = []

    def judge(adapter: Adapter) -> float:
        assert not adapter.training
        assert not torch.is_grad_enabled()
        seen.append({name: tensor.clone() for name, tensor in adapter.state_dict().items()})
        return next(scores)

    trained = train(random_set(), dataclasses.replace(TINY, steps=24), judge=judge)
    assert trained.curve[:, 0].tolist() == list(range(25))
    judged = trained.curve[:, CURVE_COLUMNS.index("score")]
    assert judged[[0, 5, 10, 20, 24]].tolist() == pytest.approx([0.1, 0.5, 0.9, 0.3, 0.9])
    assert judged.isnan().sum() == 20
    assert (trained.best_step, trained.steps) == (10, 24)
    for name, tensor in seen[2].items():
        assert torch.equal(trained.weights[name], tensor)
    assert trained.curve[0, 1:4].isnan().all()
    assert trained.curve[1:, 1:4].isfinite().all()


def test_training_goes_on_from_given_weights() -> None:
    first = train(random_set(), TINY)
    untouched = train(random_set(), dataclasses.replace(TINY, steps=0), start=first.weights)
    assert all(torch.equal(untouched.weights[name], tensor) for name, tensor in first.weights.items())
    with pytest.raises(ValueError, match="logit_scale is missing"):
        train(random_set(), TINY, start={})


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where() -> None:
    data = random_set()
    data.blocks[0][:, 0, 0, 0] = torch.nan
    with pytest.raises(ArithmeticError, match="no longer finite at step 1 of the training stage; check that the feat"):
        train(data, TINY)


def test_activations_computed_twice_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for kept in (1 << 40, 0):
        monkeypatch.setitem(passes._KEPT_BYTES, "cpu", kept)
        monkeypatch.setitem(passes._LOT_BYTES, "cpu", 1 if kept else 1 << 30)
        training = Training(random_set(), dataclasses.replace(TINY, dropout=0.0), seed=0)
        losses = training.losses(training.draw(0))
        gradients = {name: p.grad for name, p in training.state.adapter.named_parameters() if p.grad is not None}
        found.append((losses.total, gradients))
    assert_close(found[0], found[1], atol=1e-5, rtol=1e-4)


def test_dropped_features_are_the_same_when_computed_twice() -> None:
    training = Training(random_set(), dataclasses.replace(TINY, dropout=0.5), seed=0)
    draw = training.draw(3)
    first, again, others = (training._blocks(draw, views) for views in (range(2), range(2), range(2, 4)))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert (first[0] == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert not torch.equal(first[0] == 0, others[0] == 0)
    ones = torch.ones(1, 1, 200, 200)
    drop((ones,), 0.2, seed=1)
    assert float(ones.mean()) == pytest.approx(1, abs=0.02)
    assert sorted(ones.unique().tolist()) == pytest.approx([0, 1.25])


def test_pictures_are_paired_within_their_category_and_all_pairs_come() -> None:
    data = random_set(9, categories=3)
    training = Training(data, dataclasses.replace(TINY, batch_images=3), seed=0)
    pairs = set()
    for step in range(60):
        draw = training.draw(step)
        assert len(set(data.categories[draw.images].tolist())) == 1
        assert len(draw.images) == 3
        pairs |= set(zip(draw.images[draw.sources].tolist(), draw.images[draw.targets].tolist(), strict=True))
    assert pairs == {(i, j) for i in range(9) for j in range(9) if i != j and i % 3 == j % 3}


def test_nothing_in_common_is_refused() -> None:
    data = random_set(2, categories=2)
    with pytest.raises(ValueError, match="no two pictures of one category show a keypoint in common"):
        train(data, TINY)


def test_sets_that_contradict_themselves_are_refused() -> None:
    data = random_set()
    turning = torch.tensor([1, 2, 0, 3, 4]).expand(6, -1)
    changes: list[tuple[dict[str, object], str]] = [
        ({"becomes": turning}, "mirroring twice does not lead back"),
        ({"becomes": None}, "mirrored features need `becomes`"),
        ({"points": data.points + CELLS}, "visible keypoints lie outside the 8 cells"),
        ({"sides": torch.zeros(6)}, "box has no extent"),
        ({"sides": torch.ones(5)}, r"sides is \(5,\), not \(6,\)"),
        ({"mirrored": data.blocks[:1]}, "mirrored features have other shapes"),
    ]
    for change, message in changes:
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(data, **change)  # type: ignore[arg-type]


def test_padding_may_be_anything() -> None:
    data = random_set()
    spoiled = dataclasses.replace(data, points=data.points.masked_fill(~data.visible.unsqueeze(2), torch.nan))
    assert same(train(spoiled, TINY), train(data, TINY))


def test_one_cycle_is_that_of_torch() -> None:
    options = dataclasses.replace(TINY, steps=37)
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.AdamW([parameter], 1.25e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, max_lr=1.25e-3, total_steps=37)
    options = dataclasses.replace(options, learning_rate=1.25e-3, schedule="one_cycle")
    for step in range(37):
        group = optimiser.param_groups[0]
        assert rate_and_momentum(step, options) == pytest.approx((group["lr"], group["betas"][0]), rel=1e-6), step
        optimiser.step()
        if step < 36:
            schedule.step()
    assert rate_and_momentum(5, dataclasses.replace(options, schedule="constant")) == (1.25e-3, 0.9)


def test_decay_spares_norms_and_scales_unless_official() -> None:
    for compat, spared in ((False, 0.0), (True, TINY.weight_decay)):
        state = Training(random_set(), dataclasses.replace(TINY, compat=compat), seed=0).state
        decay = {id(p): group["weight_decay"] for group in state.optimiser.param_groups for p in group["params"]}
        for name, parameter in state.adapter.named_parameters():
            expected = TINY.weight_decay if parameter.ndim == 4 else spared
            assert decay[id(parameter)] == expected, name


def test_settings() -> None:
    published = official(100)
    assert (published.batch_images, published.single_flip, published.subcell) == (2, 0, False)
    assert (published.width, published.hidden, published.groups) == (768, 192, 32)
    assert (published.learning_rate, published.weight_decay) == (1.25e-3, 1e-3)
    for change, message in (
        ({"batch_images": 1}, "batch_images is 1; use at least 2"),
        ({"dropout": 1.0}, "dropout is 1.0; use 0 up to"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; use a positive number"),
        ({"self_flip": -1.0}, "self_flip is -1.0; use 0 or more"),
        ({"schedule": "none"}, "schedule is 'none'; use one of one_cycle, constant"),
    ):
        with pytest.raises(ValueError, match=message):
            dataclasses.replace(published, **change)  # type: ignore[arg-type]
