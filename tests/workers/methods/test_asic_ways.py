"""Ways to run the method other than the plain one: masks that miss, parts that cannot be told."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from alignment.scores import pck
from api_schemas.methods.asic import AsicParams, Preset
from tests.workers.methods.masked import annotated, masked_pictures
from tests.workers.methods.recorder import Recorder
from workers.backbones.registry import BackboneProvider
from workers.imaging.frames import letterboxed
from workers.methods.asic.alignment import NoMatchesError
from workers.methods.asic.inputs import DescribedSet
from workers.methods.asic.object_parts import found_parts
from workers.methods.asic.pipeline import Asic
from workers.methods.base import InputImage, MethodResult
from workers.methods.features import Heartbeat
from workers.run_context import Run

TWO = (0, 6)
PARAMS = AsicParams(backbone="embedded", working_size=128, atlas_size=64, num_parts=2)


class Teller(Recorder):
    """Keeps what the user is told, too."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def log(self, message: str) -> None:
        """Keep."""
        self.told.append(message)


def aligned(images: list[InputImage], run: Run | None = None, preset: Preset = "draft") -> MethodResult:
    params = PARAMS.model_copy(update={"preset": preset})
    return Asic(BackboneProvider()).run(images, params, run or Run.local())


def test_a_mask_that_misses_the_object_is_told_and_the_others_are_aligned() -> None:
    images, teller = masked_pictures((0, 2, 6)), Teller()
    speck = np.zeros(images[2].rgb.shape[:2], np.uint8)
    speck[:3, :3] = 255
    images[2] = replace(images[2], mask=speck)
    result = aligned(images, teller.run())
    assert [row["outlier"] for row in result.scores] == [False, False, True]
    assert [row["matches"] == 0 for row in result.scores] == [False, False, True]
    assert result.scores[2]["consistency"] == 0
    (message,) = teller.told
    assert message.startswith(f"Nothing in {images[2].name} matches the other images; where masks are given, check")
    truth = {position: image for position, image in annotated((0, 2, 6)).items() if position < 2}
    assert pck(result.form, truth, [0.05]).scores[0].per_point > 0.9


def test_masks_that_leave_nothing_to_match_are_refused() -> None:
    specks = []
    for image in masked_pictures(TWO):
        speck = np.zeros(image.rgb.shape[:2], np.uint8)
        speck[:3, :3] = 255
        specks.append(replace(image, mask=speck))
    presets: tuple[Preset, ...] = ("draft", "quality")
    for preset in presets:
        with pytest.raises(NoMatchesError, match="check that they cover the objects, in white"):
            aligned(specks, preset=preset)


def test_fewer_parts_than_asked_for_are_told() -> None:
    described = _two_coloured()
    teller = Teller()
    parts = found_parts(described, described.features[:, :1], 4, Heartbeat(teller.run()), seed=0)
    assert parts.count == 1
    assert set(parts.labels.unique().tolist()) == {-1, 0}
    assert teller.told == ["Only one part could be told apart, not 4."]


def test_padding_has_no_parts() -> None:
    described = _two_coloured(width=32)
    everything = torch.ones(2, 1, 16, 16)
    labels = found_parts(described, everything, 2, Heartbeat(Run.local()), seed=0).labels
    assert (labels[..., :16] == -1).all()
    assert (labels[..., 48:] == -1).all()
    assert (labels[..., 16:48] >= 0).any()


def _two_coloured(width: int = 64) -> DescribedSet:
    """Two pictures, an object in the middle, whose features say nothing but object or not."""
    inside = torch.zeros(2, 1, 16, 16)
    inside[..., 5:11, 5:11] = 1
    features = torch.cat([inside, 1 - inside], dim=1)
    rgb = np.full((64, width, 3), 40, np.uint8)
    rgb[20:44, width // 2 - 12 : width // 2 + 12] = 200
    return DescribedSet(
        BackboneProvider().get("dense_descriptor"), letterboxed([rgb] * 2, 64, "cpu"), features, features.flip(-1), None
    )
