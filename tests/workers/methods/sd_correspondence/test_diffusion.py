"""Real networks of Stable Diffusion's layout, tiny and untrained, from files to what they find.

Such a network's features mean nothing, so points are only found where the embedding learnt them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from api_schemas.methods.sd_correspondence import SdCorrespondenceParams
from tests.workers.backbones.diffusion.tiny import context, picture, save_tiny
from tests.workers.methods.sd_correspondence.bed import as_base, local, options, points, rows
from workers.backbones.diffusion.attention import AttentionReader
from workers.backbones.diffusion.schedule import noised
from workers.backbones.registry import BackboneProvider
from workers.methods.base import InputImage, MethodResult, OtherWeightsError, UnfitImagesError
from workers.methods.sd_correspondence.crops import crops_of
from workers.methods.sd_correspondence.optimisation import Draws, Group, Optimisation
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.pipeline import SdCorrespondence
from workers.methods.sd_correspondence.readout import joined, located
from workers.methods.sd_correspondence.scene import View

NAME = "tiny_sd"
FILES = [
    f"{part}/{file}" for part in ("unet", "vae") for file in ("config.json", "diffusion_pytorch_model.safetensors")
]
SIZE = 256
PLACES = torch.tensor([[103.0, 158.0], [200.0, 60.0]])
IMAGES = [
    InputImage(f"{phase}.png", (picture(96, 128, phase)[0].permute(1, 2, 0) * 255).round().byte().numpy())
    for phase in (0.0, 0.3, 0.6)
]
GIVEN: dict[str, Any] = {
    "model": NAME,
    "preset": "fast",
    "working_size": SIZE,
    "queries": [{"image": 0, "x": 51.5, "y": 59.0}, {"image": 0, "x": 100.0, "y": 22.5}],
    "tuning": {"rounds": 2, "steps": 3, "crop_bank": 4, "read_crops": 4, "learning_rate": 0.1},
}


@pytest.fixture(scope="module")
def weights_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A weights folder with a checkpoint of the operator's own, which a catalogue of their own names."""
    folder = tmp_path_factory.mktemp("weights")
    save_tiny(folder / NAME)
    files = "".join(f'[[{NAME}.files]]\npath = "{path}"\nbytes = 1_000_000\n' for path in FILES)
    catalogue = folder / "own.toml"
    catalogue.write_text(f'[{NAME}]\nhub = "me/tiny"\nlicense = "CC0-1.0"\nfamily = "stable_diffusion"\n{files}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONGEAL_WEIGHTS_CATALOGUE", str(catalogue))
        yield folder


@pytest.fixture(scope="module")
def provider(weights_dir: Path) -> BackboneProvider:
    return BackboneProvider(weights_dir=weights_dir)


def params(**changed: Any) -> SdCorrespondenceParams:
    return SdCorrespondenceParams.model_validate(GIVEN | changed)


@pytest.fixture(scope="module")
def result(provider: BackboneProvider) -> MethodResult:
    return SdCorrespondence(provider).run(IMAGES[:2], params(), local())


@pytest.fixture(scope="module")
def learnt(provider: BackboneProvider) -> tuple[Tensor, list[Any]]:
    """Losses (21, 2) of two points in a picture that never changes, and where they are found after 20 steps."""
    reader = AttentionReader(provider.diffusion(NAME))
    latents = reader.encode(picture(SIZE, SIZE))
    noisy = noised(latents, torch.full_like(latents, 0.5), 140)
    tuning = {"rounds": 1, "steps": 21, "crop_bank": 1, "crop_percent": 100, "learning_rate": 0.1}
    chosen = options("fast", half_pixel=False, stop_early=False, **tuning)

    def features(_: Sequence[View], contexts: Tensor, __: Tensor) -> list[Tensor]:
        return reader.features(noisy, 140, contexts, torch.zeros(len(contexts), dtype=torch.long))

    crops = crops_of(SIZE, 100)
    groups = [Group(place[None], ("point", index)) for index, place in enumerate(PLACES)]
    optimisation = Optimisation(
        reader, features, groups, Draws(crops, crops.corners()), chosen, Passes(reader, print, items=4)
    )
    start = torch.cat([context(index) for index in range(2)])
    optimisation.restore(optimisation.state() | {"embeddings": start})
    for _ in range(20):
        optimisation.step()
    embeddings = optimisation.embeddings[:, 0]
    optimisation.step()
    with torch.no_grad():
        maps = reader.attend(features([], embeddings, torch.zeros(2)), embeddings, 1)
    whole = joined([layer.unsqueeze(0)[:, :, 0] for layer in maps], [(0, 0)], crops)
    inside = torch.ones(SIZE, SIZE, dtype=torch.bool)
    return optimisation.losses, [located(one[None], inside, sigma=chosen.sigma, fusion="softmax") for one in whole]


def test_embeddings_learn_points_as_fast_as_was_measured(learnt: tuple[Tensor, list[Any]]) -> None:
    losses = learnt[0]
    assert losses[0].tolist() == pytest.approx([0.00914, 0.00928], abs=6e-6)
    assert losses[20].tolist() == pytest.approx([0.00482, 0.00618], rel=0.02)
    assert bool((losses[20] <= 0.85 * losses[0]).all())


def test_what_was_learnt_is_attended_to(learnt: tuple[Tensor, list[Any]]) -> None:
    for place, found in zip(PLACES, learnt[1], strict=True):
        row, column = divmod(int(found.heat.argmax()), 64)
        cell = torch.tensor([column + 0.5, row + 0.5]) * SIZE / 64
        assert float((cell - place).norm()) <= 24
        assert found.peak > 0.1


def test_a_job_runs_from_files_to_points(result: MethodResult) -> None:
    assert result.backbone == NAME
    assert set(points(result)) == {(0, 1)}
    found = points(result)[0, 1]
    assert bool(np.isfinite(found).all())
    assert bool((found[:, 2:4] >= 0).all() and (found[:, 2:4] <= [128, 96]).all())
    assert result.tensors["embeddings"].shape == (2, 2, 77, 32)
    assert bool((result.tensors["loss_curves"] > 0).all())
    assert f"{NAME} weights=" in str(result.backbone_identity)


def test_stored_embeddings_find_the_same_again(provider: BackboneProvider, result: MethodResult) -> None:
    more = SdCorrespondence(provider).extend(as_base(result), IMAGES, params(), local())
    assert set(points(more)) == {(0, 1), (0, 2)}
    np.testing.assert_array_equal(points(more)[0, 1], points(result)[0, 1])
    twin = SdCorrespondence(provider).extend(as_base(result), [*IMAGES[:2], IMAGES[1]], params(), local())
    np.testing.assert_array_equal(points(twin)[0, 2], points(result)[0, 1])
    for one, other in zip(twin.image_tensors["heat_maps"][2], result.image_tensors["heat_maps"][1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_source_that_is_read_again_gives_the_same(provider: BackboneProvider, result: MethodResult) -> None:
    again = SdCorrespondence(provider).extend(as_base(result), [*IMAGES[:2], IMAGES[0]], params(), local())
    for row in rows(again):
        own, target = row["own"], row["targets"][-1]
        assert target["image"] == 2
        assert (target["x"], target["y"], target["peak"]) == pytest.approx((own["x"], own["y"], own["peak"]), rel=1e-4)


def test_a_job_of_fixed_features_runs_with_its_way_back(provider: BackboneProvider) -> None:
    grid = params(preset="cached", queries=None, grid={"step": 256}, cycle=True)
    found = SdCorrespondence(provider).run(IMAGES[:2], grid, local())
    assert set(points(found)) == {(0, 1), (1, 0)}
    assert all(entry["cycle_error"] >= 0 for row in rows(found) for entry in row["targets"])


def test_other_heads_make_another_network(provider: BackboneProvider, result: MethodResult) -> None:
    every = params(tuning=GIVEN["tuning"] | {"heads": "all"})
    with pytest.raises(OtherWeightsError, match=r"heads=second_half.*heads=all"):
        SdCorrespondence(provider).extend(as_base(result), IMAGES, every, local())


def test_a_blank_image_is_refused(provider: BackboneProvider) -> None:
    blank = InputImage("blank.png", np.full((64, 64, 3), 90, dtype=np.uint8))
    with pytest.raises(UnfitImagesError, match=r"blank\.png"):
        SdCorrespondence(provider).run([IMAGES[0], blank], params(), local())
