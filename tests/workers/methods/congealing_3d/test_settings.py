from typing import Any

from api_schemas.methods.congealing_3d import Congealing3dParams, GeneratedShape
from workers.methods.congealing_3d.generate.options import fast, official
from workers.methods.congealing_3d.pose.grid import pose_grid
from workers.methods.congealing_3d.settings import (
    describe_options,
    generate_options,
    grid_options,
    search_options,
)


def params(**given: Any) -> Congealing3dParams:
    return Congealing3dParams.model_validate({"backbone": "embedded", **given})


def test_crops_have_as_many_pixels_as_their_cells_need() -> None:
    options = describe_options(params())
    assert (options.size, options.cells, options.dim) == (128, 32, 128)
    assert describe_options(params(cells=12)).size == 64
    published = {"backbone": "dinov2_vitg14", "features": {"stride": 14}}
    assert describe_options(params(**published)).size == 448
    assert describe_options(params(**published, cells=48)).size == 518


def test_the_grid_has_the_candidates_that_were_asked_for() -> None:
    given = params(
        search={
            "azimuths": 5,
            "elevations": 3,
            "min_elevation_deg": -10,
            "max_elevation_deg": 50,
            "fovs_deg": [30, 45],
            "rolls_deg": [-10, 0, 10],
            "spacing": "inclusive",
        }
    )
    grid = pose_grid(grid_options(given))
    assert len(grid.cameras) == given.search.candidates == 90
    low, high = grid.angles_deg.amin(dim=0).tolist(), grid.angles_deg.amax(dim=0).tolist()
    assert [round(value) for value in low] == [-180, -10, 30, -10]
    assert [round(value) for value in high] == [180, 50, 45, 10]


def test_the_search_follows_the_parameters() -> None:
    found = search_options(params(refine=False, collective=False, search={"hypotheses": 3}))
    assert (found.hypotheses, found.refine, found.collective) == (3, False, False)
    assert search_options(params()).refine


def test_what_is_left_out_the_preset_decides() -> None:
    assert generate_options(GeneratedShape()) == fast().__class__(
        inversion=fast().inversion, distillation=fast().distillation, mesh=fast().mesh
    )
    assert generate_options(GeneratedShape(preset="official", field="grid")) == official()
    given = generate_options(
        GeneratedShape(
            word="dog", vectors=3, inversion_steps=7, distillation_steps=9, field="hash", suffix=", 3d asset"
        )
    )
    assert (given.inversion.word, given.inversion.vectors, given.inversion.steps) == ("dog", 3, 7)
    assert (given.distillation.steps, given.distillation.kind, given.suffix) == (9, "hash", ", 3d asset")
