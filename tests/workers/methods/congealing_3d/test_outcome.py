"""What is told of poses that are made up here."""

from typing import Any

import numpy as np
import pytest
import torch

from alignment.shape import Shape
from tests.workers.methods.congealing_3d.photographs import inputs, scene_of
from workers.backbones.base import no_tick
from workers.evaluation.place_oracle import PlaceOracle, place_coloured
from workers.evaluation.procedural_shapes import animal
from workers.evaluation.shape_set import ShapeSet
from workers.geometry.cameras import looking_at_origin
from workers.methods.base import MethodResult
from workers.methods.congealing_3d.mapping import nowhere
from workers.methods.congealing_3d.outcome import Provenance, outcome
from workers.methods.congealing_3d.pose.search import FoundPoses
from workers.methods.congealing_3d.scene import Scene
from workers.rendering.texturing import textured

AZIMUTHS = torch.tensor([[0.0, 5.0, 120.0, -90.0], [30.0, 30.0, 30.0, 30.0]])
SCORES = torch.tensor([[1.5, 1.49, 1.48, 0.9], [1.2, 1.1, -torch.inf, -torch.inf]])


def poses() -> FoundPoses:
    """Four poses of one image, two alike of another that fits by chance."""
    flat = AZIMUTHS.flatten()
    cameras = looking_at_origin(flat, torch.full((8,), 20.0), torch.full((8,), 2.0), torch.full((8,), 40.0))
    return FoundPoses(
        cameras=cameras,
        scores=SCORES,
        fits=SCORES - 0.8,
        ious=torch.full_like(SCORES, 0.8),
        grid_scores=torch.tensor([0.6, 0.1]),
        chance_scores=torch.tensor([0.2, 0.15]),
        ambiguous=torch.tensor([True, False]),
    )


@pytest.fixture(scope="module")
def result(made: ShapeSet) -> MethodResult:
    provenance = Provenance({"source": "mesh"}, ("a warning",), files={"canonical/field.safetensors": b"field"})
    scene = scene_of(inputs(made)[:3])
    shown = Scene(scene.images, scene.masks, [0, 2], scene.crops, [[], ["mask_too_small"], []])
    return outcome(
        shown,
        poses(),
        [nowhere(192, 160, 64)] * 2,
        textured(place_coloured(animal(0)), 128),
        provenance,
        PlaceOracle(),
        map_side=64,
        seed=0,
        tick=no_tick,
    )


def rows_of(result: MethodResult) -> list[dict[str, Any]]:
    document: Any = result.documents["poses"]
    return list(document["images"])


def test_every_image_has_its_row_with_poses_that_differ_best_first(result: MethodResult) -> None:
    first, second, third = rows_of(result)
    assert [row["name"] for row in (first, second, third)] == ["0.png", "1.png", "2.png"]
    assert round(first["pose"]["azimuth_deg"]) == 0
    assert [round(other["azimuth_deg"]) for other in first["alternatives"]] == [120, -90]
    assert first["pose"]["elevation_deg"] == pytest.approx(20, abs=1e-3)
    assert first["problems"] == ["ambiguous"]
    assert second == {"index": 1, "name": "1.png", "pose": None, "problems": ["mask_too_small"]}
    assert third["alternatives"] == []
    assert third["problems"] == ["no_better_than_chance"]
    assert [score["outlier"] for score in result.scores] == [False, True, True]
    assert result.warnings[0] == "a warning"
    assert len(result.warnings) == 4
    assert result.files["canonical/field.safetensors"] == b"field"
    assert isinstance(result.form, Shape)
    assert result.form.cameras[1] is None
    assert set(result.set_scores) == {"mean_fit", "ambiguous_share", "mean_iou"}
    assert len(result.image_pictures["overlays"]) == 3


def test_crops_are_told_in_pixels(made: ShapeSet, result: MethodResult) -> None:
    x0, y0, x1, y1 = rows_of(result)[0]["crop"]
    rows, columns = np.nonzero(made.masks[0])
    assert x0 <= columns.min() <= columns.max() < x1
    assert y0 <= rows.min() <= rows.max() < y1
    assert max(np.ptp(rows), np.ptp(columns)) + 1 == round((x1 - x0) / 1.02)
