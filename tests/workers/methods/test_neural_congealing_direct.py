"""The direct mode on the analytic template set, whose correspondences are known exactly."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from workers.evaluation.template_set import TemplateSet, template_set
from workers.geometry.inversion import round_trip_error
from workers.methods.neural_congealing.direct import align
from workers.methods.neural_congealing.evaluation import pair_errors
from workers.methods.neural_congealing.initialisation import NothingInCommonError
from workers.methods.neural_congealing.options import DirectOptions
from workers.methods.neural_congealing.result import CongealingResult, picture_to_atlas

FRAME_PX = 128
QUICK = DirectOptions(similarity_steps=30, flow_steps=30)


def align_set(truth: TemplateSet, options: DirectOptions = DirectOptions(), *, masked: bool = True) -> CongealingResult:  # noqa: B008
    features, masks = torch.from_numpy(truth.features), torch.from_numpy(truth.masks)
    return align(features, features.flip(-1), masks if masked else None, torch.ones_like(masks), options)


def scores(
    result: CongealingResult, truth: TemplateSet, skipped: int | None = None
) -> tuple[float, float, float, float]:
    """PCK at .1, .05, .02 and the median error, all at 128 pixels."""
    kept = [i for i in range(8) if i != skipped]
    points = torch.from_numpy(truth.keypoints) / FRAME_PX - 1
    errors = pair_errors(result, points, list(itertools.permutations(kept, 2))) * FRAME_PX / 2
    within = [100 * float((errors <= share * FRAME_PX).float().mean()) for share in (0.1, 0.05, 0.02)]
    return within[0], within[1], within[2], float(errors.median())


def test_clean_set_aligns_to_a_third_of_a_pixel() -> None:
    result = align_set(template_set())
    wide, _, narrow, median = scores(result, template_set())
    assert wide == 100
    assert narrow >= 99
    assert median <= 0.35
    assert not result.mirrored.any()
    assert not result.outlier.any()
    assert float(result.fold.max()) == 0


def test_mirrored_pictures_are_found() -> None:
    truth = template_set(mirrored=(2, 5))
    result = align_set(truth)
    assert result.mirrored.nonzero().flatten().tolist() == [2, 5]
    assert scores(result, truth)[2] >= 99


def test_picture_without_the_object_is_flagged_and_harms_nobody() -> None:
    truth = template_set(without_object=3)
    result = align_set(truth)
    assert result.outlier.nonzero().flatten().tolist() == [3]
    assert scores(result, truth, skipped=3)[2] >= 99
    assert float(result.scores[3]) < 0.5 * float(result.scores.median())


def test_strong_deformation() -> None:
    truth = template_set(amplitude=0.10)
    wide, middle, narrow, _ = scores(align_set(truth), truth)
    assert wide == 100
    assert middle >= 99
    assert narrow >= 95


def test_noise_as_strong_as_the_features() -> None:
    truth = template_set(feature_noise=1.0, seed=1)
    _, middle, narrow, _ = scores(align_set(truth), truth)
    assert middle >= 99
    assert narrow >= 95


def test_without_masks_the_common_part_is_found() -> None:
    truth = template_set()
    result = align_set(truth, masked=False)
    assert scores(result, truth)[2] >= 99
    size = result.atlas_saliency.shape[0]
    inverse = picture_to_atlas(result, 0, 64, 64)
    inside = torch.from_numpy(truth.masks[0, 0]) > 0.9
    cells = ((inverse.points + 1) / 2 * size).long().clamp(0, size - 1)
    saliency = result.atlas_saliency[cells[..., 1], cells[..., 0]]
    outside = (torch.from_numpy(truth.masks[0, 0]) == 0) & inverse.valid
    assert saliency[inside].mean() > 0.8
    assert saliency[outside].mean() < 0.3


def test_maps_and_back_agree_for_mirrored_pictures_too() -> None:
    result = align_set(template_set(mirrored=(2,)), QUICK)
    for index in (0, 2):
        inverse = picture_to_atlas(result, index, 128, 128)
        assert inverse.valid.float().mean() > 0.4
        error = round_trip_error(result.grids[index], inverse)[inverse.valid]
        assert float(error.max()) * FRAME_PX < 0.1


def test_result_says_what_it_did() -> None:
    result = align_set(template_set(), QUICK)
    size = QUICK.atlas_size
    assert result.grids.shape == result.flows.shape == (8, size, size, 2)
    assert result.atlas_features.shape == (32, size, size)
    assert result.atlas_saliency.shape == (size, size)
    assert 0 <= float(result.atlas_saliency.min()) <= float(result.atlas_saliency.max()) <= 1
    linear = torch.stack([result.scale * result.theta.cos(), result.scale * result.theta.sin()], dim=1)
    torch.testing.assert_close(result.matrices[:, :, 0], linear)
    assert result.curve.shape[1] == 3
    assert (result.curve[:, 2] > 0).all()


class Recorder:
    """Hooks that keep the states of chosen steps, and may stop at one."""

    def __init__(self, *, resume: dict[str, Tensor] | None = None, stop_after: int | None = None) -> None:
        self.resume, self.stop_after = resume, stop_after
        self.stages: list[str] = []
        self.states: list[dict[str, Tensor]] = []

    def stage(self, name: str) -> None:
        self.stages.append(name)

    def step(
        self, step: int, total: int, *, state: Callable[[], dict[str, Tensor]] | None = None, **metrics: float
    ) -> None:
        assert 1 <= step <= total
        assert all(np.isfinite(value) for value in metrics.values())
        if state is not None:
            self.states.append(state())
            if len(self.states) == self.stop_after:
                raise KeyboardInterrupt


RESUME_OPTIONS = DirectOptions(similarity_steps=27, flow_steps=28, atlas_size=32)


def run_small(hooks: Recorder) -> CongealingResult:
    truth = template_set(feature_noise=0.5)
    features = torch.nn.functional.avg_pool2d(torch.from_numpy(truth.features[:5]), 2)
    masks = torch.nn.functional.avg_pool2d(torch.from_numpy(truth.masks[:5]), 2)
    return align(features, None, masks, torch.ones_like(masks), RESUME_OPTIONS, seed=3, hooks=hooks)


def same(first: CongealingResult, second: CongealingResult) -> bool:
    pairs = [(getattr(first, name), getattr(second, name)) for name in first.__dataclass_fields__]
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in pairs)


def test_resuming_from_any_state_ends_bit_by_bit_the_same() -> None:
    undisturbed = Recorder()
    expected = run_small(undisturbed)
    assert list(dict.fromkeys(undisturbed.stages)) == ["matches", "similarity", "flow"]
    count = len(undisturbed.states)
    assert count > 60
    for moment in (0, 24, 26, 27, 53, count - 1):
        kept = {name: tensor.clone() for name, tensor in undisturbed.states[moment].items()}
        resumed = Recorder(resume=kept)
        assert same(run_small(resumed), expected), moment
        assert "matches" not in resumed.stages


def test_a_hook_may_stop_the_run_and_its_last_state_is_enough() -> None:
    stopped = Recorder(stop_after=35)
    with pytest.raises(KeyboardInterrupt):
        run_small(stopped)
    assert same(run_small(Recorder(resume=stopped.states[-1])), run_small(Recorder()))


def test_checkpoint_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks stage, step"):
        run_small(Recorder(resume={"atlas": torch.zeros(1)}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": torch.zeros(3, 4, 8, 6)}, r"use \(N, C, h, h\)"),
        ({"features": torch.zeros(1, 4, 8, 8)}, "at least 2"),
        ({"mirrored_features": torch.zeros(3, 4, 8, 6)}, "mirrored features"),
        ({"masks": torch.zeros(3, 8, 8)}, "masks are"),
        ({"valid": torch.zeros(2, 1, 8, 8)}, "valid are"),
        ({"options": DirectOptions(search=True)}, "needs a describer"),
    ],
)
def test_bad_inputs_are_named(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "features": torch.zeros(3, 4, 8, 8),
        "mirrored_features": None,
        "masks": None,
        "valid": torch.ones(3, 1, 8, 8),
        "options": DirectOptions(),
    }
    with pytest.raises(ValueError, match=message):
        align(**{**arguments, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"), [("atlas_size", 8), ("smoothness", -1.0), ("whitening", 2.0), ("robustness", 0.0)]
)
def test_bad_options_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is"):
        DirectOptions(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(("spread", "masked"), [(1.0, 1.0), (0.0, 0.0)])
def test_pictures_of_nothing_in_common_are_refused(spread: float, masked: float) -> None:
    features = spread * torch.randn(3, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    whole = torch.ones(3, 1, 16, 16)
    with pytest.raises(NothingInCommonError, match="seem to share nothing"):
        align(features, None, masked * whole, whole, DirectOptions(flow_steps=5, similarity_steps=5))
