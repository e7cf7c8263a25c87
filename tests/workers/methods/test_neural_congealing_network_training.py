"""The network mode on the analytic template set, at tiny sizes."""

import functools
import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from workers.evaluation.template_set import COUNT, FEATURE_SIZE, IMAGE_SIZE, TemplateSet, template_set
from workers.geometry.coordinates import identity_grid
from workers.methods.hooks import Hooks
from workers.methods.neural_congealing.evaluation import pair_errors
from workers.methods.neural_congealing.network.options import NetworkOptions
from workers.methods.neural_congealing.network.training import train
from workers.methods.neural_congealing.result import CongealingResult

FRAME_PX = 128
TINY = NetworkOptions(
    image_size=32,
    atlas_size=32,
    flow_size=32,
    width=0.0625,
    batch=4,
    network_rate=1e-3,
    bootstrap_epochs=70,
    flow_epochs=20,
)


@functools.cache
def rendered(*, mirrored: tuple[int, ...] = ()) -> TemplateSet:
    return template_set(mirrored=mirrored)


def train_set(
    truth: TemplateSet, options: NetworkOptions, *, images: int = COUNT, seed: int = 0, hooks: Hooks | None = None
) -> CongealingResult:
    pictures = avg_pool2d(torch.from_numpy(truth.images[:images]), IMAGE_SIZE // options.image_size)
    features, masks = (
        avg_pool2d(torch.from_numpy(maps[:images]), FEATURE_SIZE // options.atlas_size)
        for maps in (truth.features, truth.masks)
    )
    return train(
        pictures,
        features,
        masks,
        torch.ones_like(masks),
        options,
        mirrored_features=features.flip(-1) if options.flips else None,
        seed=seed,
        hooks=hooks,
    )


def errors(result: CongealingResult, truth: TemplateSet) -> Tensor:
    points = torch.from_numpy(truth.keypoints) / FRAME_PX - 1
    return pair_errors(result, points, list(itertools.permutations(range(COUNT), 2))) * FRAME_PX / 2


def identity_errors(truth: TemplateSet) -> Tensor:
    points = torch.from_numpy(truth.keypoints) / (IMAGE_SIZE / FRAME_PX)
    return torch.cat([(points[i] - points[j]).norm(dim=1) for i, j in itertools.permutations(range(COUNT), 2)])


def test_training_aligns_the_set() -> None:
    truth = rendered()
    result = train_set(truth, TINY)
    before, after = identity_errors(truth), errors(result, truth)
    assert float((before <= 0.1 * FRAME_PX).float().mean()) < 0.4
    assert float((after <= 0.1 * FRAME_PX).float().mean()) > 0.95
    assert float(after.median()) < 0.3 * float(before.median())
    for stage in (0.0, 1.0):
        losses = result.curve[result.curve[:, 0] == stage, 2]
        assert float(losses[-1]) < float(losses[0])
    assert not result.outlier.any()
    assert float(result.fold.max()) == 0
    check_consistency(result)


def check_consistency(result: CongealingResult) -> None:
    """The fields say the same in their different ways."""
    size = TINY.atlas_size
    assert result.atlas_features.shape == (32, size, size)
    assert result.atlas_features.norm(dim=0).allclose(torch.ones(size, size))
    linear = torch.stack([result.scale * result.theta.cos(), result.scale * result.theta.sin()], dim=1)
    torch.testing.assert_close(result.matrices[:, :, 0], linear)
    moved = identity_grid(size, size) + result.flows
    grids = torch.einsum("nij,nyxj->nyxi", result.matrices[:, :, :2], moved) + result.matrices[:, None, None, :, 2]
    torch.testing.assert_close(result.grids, grids, atol=1e-5, rtol=1e-5)


def test_mirrored_pictures_are_found() -> None:
    truth = rendered(mirrored=(2, 5))
    options = replace(TINY, flips=True, flip_epochs=10, bootstrap_epochs=90, flow_epochs=0, network_rate=2e-3)
    result = train_set(truth, options)
    assert result.mirrored.nonzero().flatten().tolist() == [2, 5]
    assert float((errors(result, truth) <= 0.1 * FRAME_PX).float().mean()) > 0.9


def test_reference_image_is_the_atlas() -> None:
    truth = rendered()
    result = train_set(truth, replace(TINY, reference=3, flow_epochs=0))
    features = torch.from_numpy(truth.features[3:4])
    expected = torch.nn.functional.normalize(avg_pool2d(features, 2)[0], dim=0)
    torch.testing.assert_close(result.atlas_features, expected)
    assert torch.equal(result.grids[3], identity_grid(32, 32))
    mask = avg_pool2d(torch.from_numpy(truth.masks[3]), 2)[0]
    assert float((result.atlas_saliency - mask).abs().max()) < 2e-3
    to_and_from = [(3, j) for j in range(COUNT) if j != 3] + [(j, 3) for j in range(COUNT) if j != 3]
    points = torch.from_numpy(truth.keypoints) / FRAME_PX - 1
    found = pair_errors(result, points, to_and_from) * FRAME_PX / 2
    assert float((found <= 0.1 * FRAME_PX).float().mean()) > 0.9


def test_benchmark_preset_lets_all_images_join_in_time() -> None:
    recorder = Recorder()
    options = replace(TINY, preset="benchmark", batch=2, bootstrap_epochs=4, flow_epochs=4)
    train_set(rendered(), options, images=4, hooks=recorder)
    included = [int(state["included"].sum()) for state in recorder.states]
    assert included[0] == 1
    assert included == sorted(included)
    assert included[-1] == 4


class Recorder:
    """Hooks that keep the states of all steps, and may stop at one."""

    def __init__(self, *, resume: dict[str, Tensor] | None = None, stop_after: int | None = None) -> None:
        self.resume, self.stop_after = resume, stop_after
        self.stages: list[str] = []
        self.states: list[dict[str, Tensor]] = []
        self.losses: list[float] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def step(
        self, step: int, total: int, *, state: Callable[[], dict[str, Tensor]] | None = None, **metrics: float
    ) -> None:
        assert 0 <= step <= total
        self.losses += metrics.values()
        if state is not None:
            self.states.append(state())
            if len(self.states) == self.stop_after:
                raise KeyboardInterrupt


SMALL = NetworkOptions(
    image_size=64,
    atlas_size=16,
    flow_size=32,
    width=0.0625,
    preset="benchmark",
    bootstrap_epochs=9,
    flow_epochs=4,
    flips=True,
    flip_epochs=2,
    network_rate=1e-3,
)


def run_small(hooks: Recorder) -> CongealingResult:
    return train_set(rendered(mirrored=(1,)), SMALL, images=5, seed=3, hooks=hooks)


def same(first: CongealingResult, second: CongealingResult) -> bool:
    pairs = [(getattr(first, name), getattr(second, name)) for name in first.__dataclass_fields__]
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


@pytest.fixture(scope="module")
def undisturbed() -> tuple[Recorder, CongealingResult]:
    recorder = Recorder()
    return recorder, run_small(recorder)


def test_resuming_from_any_state_ends_bit_by_bit_the_same(undisturbed: tuple[Recorder, CongealingResult]) -> None:
    recorder, expected = undisturbed
    assert recorder.stages == ["similarity", "flow"]
    assert len(recorder.states) == 3 * 13
    assert len(recorder.losses) == len(expected.curve) == 3
    for moment in (0, 23, 24, 26, 27, 38):
        resumed = Recorder(resume=recorder.states[moment])
        assert same(run_small(resumed), expected), moment
        assert resumed.stages == ["similarity", "flow"][moment >= 26 :][: 2 if moment < 38 else 0]


def test_a_hook_may_stop_the_run_and_its_last_state_is_enough(undisturbed: tuple[Recorder, CongealingResult]) -> None:
    stopped = Recorder(stop_after=30)
    with pytest.raises(KeyboardInterrupt):
        run_small(stopped)
    assert same(run_small(Recorder(resume=stopped.states[-1])), undisturbed[1])


def test_seed_decides() -> None:
    options = replace(SMALL, bootstrap_epochs=2, flow_epochs=0)
    results = [train_set(rendered(), options, images=3, seed=seed) for seed in (0, 0, 1)]
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_checkpoint_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks mirrored, included"):
        run_small(Recorder(resume={"atlas": torch.zeros(1)}))
    kept = Recorder(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        run_small(kept)
    with pytest.raises(ValueError, match=r"the checkpoint has .*; start the job afresh"):
        train_set(rendered(), replace(SMALL, width=0.125), images=5, hooks=Recorder(resume=kept.states[0]))


def test_padding_does_not_count() -> None:
    """Features and pictures of the padding may be anything."""
    generator = torch.Generator().manual_seed(0)
    features, pictures = torch.rand(3, 4, 16, 16, generator=generator), torch.rand(3, 3, 32, 32, generator=generator)
    valid = torch.ones(3, 1, 16, 16)
    valid[..., 12:] = 0
    masks = torch.rand(3, 1, 16, 16, generator=generator)
    options = replace(SMALL, image_size=32, bootstrap_epochs=1, flow_epochs=0, flips=False, batch=3)
    first, second = Recorder(), Recorder()
    train(pictures, features, masks, valid, options, hooks=first)
    train(pictures, torch.where(valid > 0, features, 7), torch.where(valid > 0, masks, 1), valid, options, hooks=second)
    assert first.losses == second.losses


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    pictures, features = torch.rand(2, 3, 32, 32), torch.rand(2, 4, 16, 16)
    ones = torch.ones(2, 1, 16, 16)
    options = replace(SMALL, image_size=32, bootstrap_epochs=1, flow_epochs=0, flips=False)
    features[0, 0, 3, 3] = torch.nan
    with pytest.raises(ArithmeticError, match="no longer finite at step 1 of the similarity stage"):
        train(pictures, features, ones, ones, options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pictures": torch.zeros(3, 3, 32, 30)}, r"use \(N, 3, S, S\)"),
        ({"pictures": torch.zeros(1, 3, 32, 32)}, "at least 2"),
        ({"features": torch.zeros(3, 4, 8, 6)}, r"use \(3, C, h, h\)"),
        ({"masks": torch.zeros(3, 8, 8)}, "masks are"),
        ({"valid": torch.zeros(2, 1, 8, 8)}, "valid are"),
        ({"options": SMALL}, "flips need the features"),
        ({"options": replace(SMALL, flips=False, reference=3)}, "reference is 3 of 3 images; use 0 to 2"),
        ({"options": SMALL, "mirrored_features": torch.zeros(3, 4, 6, 6)}, "mirrored features are"),
    ],
)
def test_bad_inputs_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "pictures": torch.zeros(3, 3, 32, 32),
        "features": torch.zeros(3, 4, 8, 8),
        "masks": torch.ones(3, 1, 8, 8),
        "valid": torch.ones(3, 1, 8, 8),
        "options": replace(SMALL, flips=False),
    }
    with pytest.raises(ValueError, match=message):
        train(**{**arguments, **change})  # type: ignore[arg-type]
