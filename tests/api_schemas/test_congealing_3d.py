from typing import Any

import pytest
from pydantic import ValidationError

from api_schemas.methods.congealing_3d import (
    MAX_CANDIDATES,
    MVDREAM,
    SPEC,
    Congealing3dParams,
    GeneratedShape,
    MeshShape,
    SearchParams,
)

MESH = "msh_01k8zd6c2q4x7v9m3n5p8r0s1t"


def params(**given: Any) -> Congealing3dParams:
    return Congealing3dParams.model_validate({"backbone": "embedded", **given})


def test_a_shape_is_generated_unless_a_mesh_is_given() -> None:
    generated = params()
    assert isinstance(generated.shape, GeneratedShape)
    assert generated.extra_weights() == (MVDREAM,)
    assert generated.meshes() == ()
    given = params(shape={"source": "mesh", "mesh": MESH, "up_axis": "z"})
    assert isinstance(given.shape, MeshShape)
    assert given.extra_weights() == ()
    [use] = given.meshes()
    assert (use.path, use.mesh_id) == (("shape", "mesh"), MESH)


@pytest.mark.parametrize(
    "shape",
    [
        {"source": "mesh"},
        {"source": "mesh", "mesh": "img_01k8zd6c2q4x7v9m3n5p8r0s1t"},
        {"source": "mesh", "mesh": MESH, "up_axis": "w"},
        {"source": "mesh", "mesh": MESH, "word": "cat"},
        {"source": "generate", "vectors": 9},
        {"source": "scan"},
    ],
)
def test_shapes_that_make_no_sense_are_refused(shape: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        params(shape=shape)


def test_the_papers_candidates_are_the_default_and_too_many_are_refused() -> None:
    assert SearchParams().candidates == 768
    most = SearchParams(azimuths=64, elevations=16, fovs_deg=[40.0], rolls_deg=[-20.0, -10.0, 0.0, 10.0])
    assert most.candidates == MAX_CANDIDATES
    with pytest.raises(
        ValidationError, match="72 azimuths x 36 elevations x 3 fields of view x 1 rolls are 7776 poses"
    ):
        SearchParams(azimuths=72, elevations=36)


@pytest.mark.parametrize("high", [-20.0, 10.0])
def test_elevations_must_rise(high: float) -> None:
    with pytest.raises(ValidationError, match=r"min_elevation_deg 10 must be below max_elevation_deg"):
        SearchParams(min_elevation_deg=10, max_elevation_deg=high)


@pytest.mark.parametrize(
    "given",
    [
        {"cells": 14},
        {"cells": 8},
        {"cells": 52},
        {"map_size": 100},
        {"texture_size": 64},
        {"search": {"hypotheses": 0}},
        {"search": {"fovs_deg": []}},
        {"search": {"fovs_deg": [120]}},
        {"search": {"azimuths": 3}},
    ],
)
def test_figures_outside_their_range_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        params(**given)


def test_crops_fit_the_backbones_cells() -> None:
    assert params().crop_size == 128
    assert params(cells=12).crop_size == 64
    assert params(backbone="dinov2_vitg14").crop_size == 224
    assert params(backbone="dinov2_vitg14", features={"stride": 14}).crop_size == 448
    assert params(backbone="dino_vits8", features={"stride": 4}).crop_size == 128
    assert params(backbone="dinov2_vits14", features={"stride": 14}, cells=48).crop_size == 518


def test_more_candidates_images_and_cells_need_more_memory() -> None:
    least = params(shape={"source": "mesh", "mesh": MESH})
    assert 1e9 < least.peak_bytes(1) < 4e9
    assert least.peak_bytes(50) > least.peak_bytes(1)
    for more in ({"cells": 48}, {"map_size": 512}, {"search": {"rolls_deg": [-10, 0, 10]}}):
        assert params(shape={"source": "mesh", "mesh": MESH}, **more).peak_bytes(10) > least.peak_bytes(10)
    assert params().peak_bytes(10) > least.peak_bytes(10)


def test_stages_make_a_whole() -> None:
    assert sum(stage.share for stage in SPEC.stages) == pytest.approx(1)
    assert (SPEC.min_images, SPEC.max_images) == (1, 100)
    assert SPEC.params is Congealing3dParams
