"""Edits and maps through the SDK and the command, on a job that a real worker has run."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from safetensors.numpy import load
from typer.testing import CliRunner

from api_schemas.edits import Edit
from api_schemas.jobs import Job
from client.cli import app
from client.console import ExitCode
from client.errors import DamagedDownloadError, ProblemError
from client.processes import EmbeddedService
from client.sdk import Congeal


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    """A red disc in the middle of the atlas."""
    picture = Image.new("RGBA", (128, 128))
    ImageDraw.Draw(picture).ellipse((44, 44, 84, 84), fill=(255, 0, 0, 255))
    picture.save(tmp_path / "layer.png")
    return tmp_path / "layer.png"


def test_an_edit_lies_where_transfer_carries_its_centre(
    sdk: Congeal, finished: Job, layer: Path, tmp_path: Path
) -> None:
    edit = sdk.edit(finished, layer, name="disc")
    assert sdk.edit(finished, layer, name="disc") == edit
    composites = sdk.fetch_edit(edit, tmp_path / "out")
    carried = sdk.transfer(finished, source="atlas", points=[(0.5, 0.5)])
    assert list(composites) == [image.id for image in finished.inputs.images]
    for target, result in zip(carried.targets, edit.results, strict=True):
        point = target.points[0]
        assert point is not None
        assert result.image == target.target
        with Image.open(tmp_path / "out" / "layers" / f"{result.index:03d}.png") as opened:
            painted = np.array(opened)
        if target.inside[0]:
            assert painted[int(point[1]), int(point[0])].tolist() == [255, 0, 0, 255]
        assert 0 < result.coverage < 1
        with Image.open(composites[result.image]) as opened:
            assert opened.size == (result.width, result.height)
    assert any(target.inside[0] for target in carried.targets)
    assert Edit.model_validate_json((tmp_path / "out" / "edit.json").read_bytes()) == edit


def test_pictures_that_are_there_are_kept_and_damaged_ones_fetched_again(
    sdk: Congeal, finished: Job, layer: Path, tmp_path: Path
) -> None:
    edit = sdk.edit(finished, layer, max_side=64)
    paths: list[Path] = []
    sdk.fetch_edit(edit, tmp_path, on_picture=paths.append)
    assert len(paths) == 2 * len(finished.inputs.images)
    times = [path.stat().st_mtime_ns for path in paths[1:]]
    paths[0].write_bytes(b"damaged")
    sdk.fetch_edit(edit, tmp_path)
    assert hashlib.sha256(paths[0].read_bytes()).hexdigest() == edit.results[0].layer.sha256
    assert [path.stat().st_mtime_ns for path in paths[1:]] == times
    first = edit.results[0]
    wrong = first.model_copy(update={"layer": first.layer.model_copy(update={"sha256": "0" * 64})})
    with pytest.raises(DamagedDownloadError, match="SHA-256"):
        sdk.fetch_edit(edit.model_copy(update={"results": [wrong]}), tmp_path / "damaged")
    assert not list((tmp_path / "damaged").rglob("*.png"))


def test_a_map_says_what_transfer_says(sdk: Congeal, finished: Job) -> None:
    first, second, _ = (image.id for image in finished.inputs.images)
    tensors = load(sdk.pair_map(finished, first, second, max_side=64))
    assert tensors["map"].shape == (64, 64, 2)
    assert tensors["confidence"].shape == (64, 64)
    # The pictures have 128 pixels a side, so that cell 30 has its centre at 61.
    point = sdk.transfer(finished, source=first, points=[(61.0, 71.0)], targets=[second]).targets[0].points[0]
    assert point is not None
    assert tensors["map"][35, 30] == pytest.approx(point, abs=1e-2)
    assert load(sdk.pair_map(finished, "atlas", first))["map"].ndim == 3


def test_refusals_come_back_as_problems(sdk: Congeal, finished: Job, layer: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.png does not exist"):
        sdk.edit(finished, tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="painted on"):
        sdk.edit(finished, layer, space="image")
    Image.new("RGBA", (32, 32)).save(tmp_path / "blank.png")
    with pytest.raises(ProblemError, match="transparent everywhere") as caught:
        sdk.edit(finished, tmp_path / "blank.png")
    assert caught.value.problem.code == "layer-empty"
    with pytest.raises(ProblemError) as caught:
        sdk.pair_map(finished, "atlas", "img_01k8zd6c2q4x7v9m3n5p8r0s1t")
    assert caught.value.problem.status == 404


def test_the_command_paints_and_fetches(running: EmbeddedService, finished: Job, layer: Path, tmp_path: Path) -> None:
    def congeal(*args: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(app, ["edit", *args], env={"CONGEAL_URL": running.url, "COLUMNS": "200"})
        assert "Traceback" not in result.output
        return result.exit_code, result.stdout.strip(), result.stderr

    out = tmp_path / "painted"
    code, edit_id, told = congeal(finished.id, str(layer), "--space", "atlas", "--out", str(out))
    assert code == 0, told
    assert edit_id.startswith("edt_")
    assert sorted(path.name for path in (out / "composites").iterdir()) == ["000.png", "001.png", "002.png"]
    assert "3 composites" in told
    Image.new("RGBA", (128, 128), "navy").save(tmp_path / "flat.png")
    one = ("--space", "image", "--image", "1", "-t", "0", "--opacity", "0.5", "--out", str(tmp_path / "one"))
    code, _, told = congeal(finished.id, str(tmp_path / "flat.png"), *one)
    assert code == 0, told
    assert [path.name for path in (tmp_path / "one" / "layers").iterdir()] == ["000.png"]
    code, _, told = congeal(finished.id, str(layer), "-t", "7")
    assert (code, "images 0 to 2" in told) == (ExitCode.USAGE, True)
    assert congeal(finished.id, str(tmp_path / "nowhere.png"))[0] == ExitCode.USAGE
    assert congeal(finished.id, str(layer), "--space", "image")[0] == ExitCode.USAGE
    assert congeal("job_01k8zd6c2q4x7v9m3n5p8r0s1t", str(layer))[0] == ExitCode.PROBLEM
