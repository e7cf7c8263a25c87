"""What the command line shows of a method that computes with a diffusion model, and of what a job costs."""

import re
from collections.abc import Callable

import pytest

from api_schemas.jobs import JobValidation
from api_schemas.manifest import ResultForm
from api_schemas.methods.sd_correspondence import SdCorrespondenceParams
from api_schemas.methods.spec import MethodDetail, MethodSummary, ModelStatus
from client import console
from client.commands.methods import methods_table, print_method
from client.commands.validation import print_validation


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A console that cuts nothing."""
    monkeypatch.setattr(console.out, "width", 240)


def detail() -> MethodDetail:
    """A method with two diffusion models, of which one is at hand."""
    known = [("sd15", False, 4_266_665_476), ("sd14", True, 3_772_812_110)]
    return MethodDetail(
        id="sd",
        title="SD",
        summary="Finds points.",
        paper=None,
        version="0.1",
        form=ResultForm.PAIRWISE_MAPS,
        min_images=2,
        max_images=60,
        stages=["work"],
        extendable=True,
        annotations="none",
        ready=True,
        backbones=[],
        models=["sd14"],
        links={},
        known_backbones=[],
        known_models=[
            ModelStatus(name=name, ready=ready, weights_bytes=size, license="RAIL", hub=f"hub/{name}")
            for name, ready, size in known
        ],
        params_schema=SdCorrespondenceParams.model_json_schema(),
        example={},
    )


def shown(show: Callable[[], object]) -> list[str]:
    """What is printed, by lines."""
    with console.out.capture() as capture:
        show()
    return capture.get().splitlines()


def line_of(lines: list[str], start: str) -> str:
    """The first line that begins with a cell."""
    return next(line for line in lines if re.match(rf"[│┃]? *{re.escape(start)} ", line))


def test_the_list_shows_models_where_there_are_no_backbones() -> None:
    whole = detail()
    summary = MethodSummary.model_validate({name: getattr(whole, name) for name in MethodSummary.model_fields})
    other = summary.model_copy(update={"id": "other", "models": [], "backbones": ["embedded", "dino_vits8"]})
    lines = shown(lambda: console.out.print(methods_table([summary, other])))
    assert "sd14" in line_of(lines, "sd")
    assert "embedded, dino_vits8" in line_of(lines, "other")


def test_a_method_shows_its_models_and_how_to_bring_one() -> None:
    lines = shown(lambda: print_method(detail()))
    missing = line_of(lines, "sd15")
    assert all(part in missing for part in ("no, `congeal weights pull sd15`", "4.27 GB", "RAIL", "hub/sd15"))
    assert "yes" in line_of(lines, "sd14")
    assert "object or null" in line_of(lines, "grid")
    assert "≥ 8, ≤ 256" in line_of(lines, "grid.step")
    assert "uniform, gaussian, none" in line_of(lines, "tuning.noise")


def test_validation_shows_the_work_where_it_is_known() -> None:
    found = JobValidation(
        method="sd", method_version="0.1", params={"model": "sd14"}, images=2, work_tflop=1234.5678, annotations=None
    )
    assert "estimated work: 1,234.6 TFLOP" in shown(lambda: print_validation(found))
    unknown = found.model_copy(update={"work_tflop": None})
    assert not any("work" in line for line in shown(lambda: print_validation(unknown)))
