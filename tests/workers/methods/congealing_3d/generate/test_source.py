"""All phases of a shape with tiny networks: what changes, what is reported, and how a run goes on."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.workers.methods.recorder import Recorder
from workers.backbones.mvdream.networks import MvdreamNetworks
from workers.methods.congealing_3d.generate.marching import Marching
from workers.methods.congealing_3d.generate.options import (
    DistillationOptions,
    GenerateOptions,
    InversionOptions,
    MeshOptions,
    fast,
    official,
)
from workers.methods.congealing_3d.generate.schedule import Phase
from workers.methods.congealing_3d.generate.source import PHASE, Generated, generate_shape
from workers.methods.features import Heartbeat

OPTIONS = GenerateOptions(
    inversion=InversionOptions(steps=3, batch=2, word="cat"),
    distillation=DistillationOptions(
        steps=3,
        phases=(Phase(0.0, 1, 12), Phase(0.5, 1, 16)),
        cells=(8, 16),
        marching=Marching(64),
        negative_prompt="a",
    ),
    mesh=MeshOptions(threshold=5.0, coarse=24, fine=24),
    picture_size=64,
)


def generated(
    networks: MvdreamNetworks,
    recorder: Recorder,
    *,
    resume: dict[str, Tensor] | None = None,
    options: GenerateOptions = OPTIONS,
    seed: int = 0,
) -> Generated:
    pictures = torch.rand(4, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    masks = torch.ones(4, 1, 40, 40)
    pulse = Heartbeat(recorder.run(resume=resume))
    return generate_shape(pictures, masks, options, networks, pulse, seed=seed, device=torch.device("cpu"))


def assert_same(found: Generated, expected: Generated) -> None:
    assert torch.equal(found.token, expected.token)
    assert set(found.field) == set(expected.field)
    assert all(torch.equal(found.field[name], tensor) for name, tensor in expected.field.items())
    assert np.array_equal(found.mesh.vertices, expected.mesh.vertices)
    assert np.array_equal(found.mesh.faces, expected.mesh.faces)
    assert found.report == expected.report
    for name, curve in expected.curves.items():
        assert np.array_equal(found.curves[name], curve)


@pytest.fixture(scope="module")
def undisturbed(networks: MvdreamNetworks) -> tuple[Generated, Recorder]:
    recorder = Recorder()
    return generated(networks, recorder), recorder


def test_a_shape_comes_with_its_word_its_field_and_figures(
    networks: MvdreamNetworks, undisturbed: tuple[Generated, Recorder]
) -> None:
    found, recorder = undisturbed
    assert recorder.stages == ["inversion", "distillation"]
    assert [int(state[PHASE]) for state in recorder.checkpoints] == [0, 0, 0, 1, 1, 1]
    assert found.token.shape == (1, networks.context_width)
    assert found.mesh.colours is not None
    assert len(found.mesh.colours) == len(found.mesh.vertices)
    assert np.linalg.norm(found.mesh.vertices, axis=1).max() == pytest.approx(0.5, abs=1e-5)
    assert found.curves["inversion"].shape == (1, 2)
    assert found.curves["distillation"].shape == (1, 3)
    assert np.isfinite(found.curves["distillation"]).all()
    report = found.report
    assert isinstance(report["inversion"], Mapping)
    assert isinstance(report["distillation"], Mapping)
    assert (report["inversion"]["steps"], report["distillation"]["steps"]) == (3, 3)


@pytest.mark.parametrize("checkpoint", [0, 2, 4])
def test_a_run_that_goes_on_from_any_checkpoint_ends_bit_by_bit_the_same(
    networks: MvdreamNetworks, undisturbed: tuple[Generated, Recorder], checkpoint: int
) -> None:
    expected, recorder = undisturbed
    again = Recorder()
    assert_same(generated(networks, again, resume=recorder.checkpoints[checkpoint]), expected)
    assert again.stages == (["inversion", "distillation"] if checkpoint < 2 else ["distillation"])


def test_another_stages_checkpoint_is_not_gone_on_from_and_the_same_seed_gives_the_same(
    networks: MvdreamNetworks, undisturbed: tuple[Generated, Recorder]
) -> None:
    assert_same(generated(networks, Recorder(), resume={"poses.done": torch.tensor(3)}), undisturbed[0])


def test_another_seed_gives_another_shape(networks: MvdreamNetworks, undisturbed: tuple[Generated, Recorder]) -> None:
    found = generated(networks, Recorder(), seed=1)
    assert not torch.equal(found.token, undisturbed[0].token)
    assert not torch.equal(found.field["grids.0"], undisturbed[0].field["grids.0"])


def test_a_checkpoint_of_another_field_is_refused(
    networks: MvdreamNetworks, undisturbed: tuple[Generated, Recorder]
) -> None:
    other = replace(OPTIONS, distillation=replace(OPTIONS.distillation, cells=(8, 12)))
    with pytest.raises(ValueError, match=r"field\.grids\.1 of .*start the job afresh"):
        generated(networks, Recorder(), resume=undisturbed[1].checkpoints[4], options=other)


def test_only_the_field_learns_in_a_distillation(networks: MvdreamNetworks) -> None:
    parts = (networks.unet, networks.vae, networks.text_encoder.network)
    before = [tensor.clone() for part in parts for tensor in part.state_dict().values()]
    found = generated(networks, Recorder(), options=replace(OPTIONS, inversion=InversionOptions(steps=0, word="cat")))
    after = [tensor for part in parts for tensor in part.state_dict().values()]
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    assert all(parameter.grad is None for part in parts for parameter in part.parameters())
    assert float(found.field["grids.0"].abs().max()) > 0
    assert float(found.field["grids.1"].abs().max()) > 0


def test_pictures_and_masks_must_fit(networks: MvdreamNetworks) -> None:
    pulse = Heartbeat(Recorder().run())
    with pytest.raises(ValueError, match=r"give \(N, 3, S, S\)"):
        generate_shape(torch.rand(3, 8, 8), None, OPTIONS, networks, pulse, seed=0, device=torch.device("cpu"))
    with pytest.raises(ValueError, match=r"one .* for each of the pictures"):
        generate_shape(
            torch.rand(2, 3, 8, 8),
            torch.rand(1, 1, 8, 8),
            OPTIONS,
            networks,
            pulse,
            seed=0,
            device=torch.device("cpu"),
        )


def test_presets_are_the_published_one_and_a_quarter_of_it() -> None:
    assert (official().distillation.steps, fast().distillation.steps) == (10_000, 2_500)
    assert [(phase.groups, phase.size) for phase in official().distillation.phases] == [(2, 64), (1, 256)]
    assert [(phase.groups, phase.size) for phase in fast().distillation.phases] == [(1, 64), (1, 128)]
    assert official().inversion == InversionOptions(1000, 0.02, 4)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"template": "a photo"}, "no place for the learned words"),
        ({"inversion": InversionOptions(batch=0)}, "inversion.batch is 0; use at least 1"),
        ({"distillation": DistillationOptions(steps=0)}, "distillation.steps is 0; use at least 1"),
        ({"distillation": DistillationOptions(phases=(Phase(0.5, 1, 64),))}, "first phase begins at 0.5"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(OPTIONS, **change)  # type: ignore[arg-type]
