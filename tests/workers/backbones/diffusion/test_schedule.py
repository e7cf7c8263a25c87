import pytest
import torch
from torch.testing import assert_close

from workers.backbones.diffusion.schedule import TRAIN_STEPS, alpha_bar, gaussian, noised


def test_signal_fades_with_time() -> None:
    kept = [alpha_bar(timestep) for timestep in range(TRAIN_STEPS)]
    assert kept == sorted(kept, reverse=True)
    assert (kept[0], kept[-1]) == pytest.approx((0.99915, 0.0046600), rel=1e-4)


@pytest.mark.parametrize("timestep", [-1, TRAIN_STEPS])
def test_other_timesteps_are_refused(timestep: int) -> None:
    with pytest.raises(ValueError, match=f"timestep {timestep}"):
        alpha_bar(timestep)


def test_variance_is_kept() -> None:
    latents, noise = gaussian(4, 64, 64, seed=1), gaussian(4, 64, 64, seed=2)
    assert float(noised(latents, noise, 500).var()) == pytest.approx(1, abs=0.03)


def test_noise_depends_on_the_seed_alone() -> None:
    torch.manual_seed(5)
    first = gaussian(2, 3, seed=42)
    torch.manual_seed(6)
    assert_close(gaussian(2, 3, seed=42), first, rtol=0, atol=0)
    assert not torch.equal(gaussian(2, 3, seed=43), first)
