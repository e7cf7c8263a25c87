import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from api_schemas.jobs import Job
from client import console
from client.cli import app
from client.console import ExitCode
from client.processes import EmbeddedService, free_port
from client.sdk import Congeal
from tests.client.conftest import SMALL
from tests.client.test_annotations import METHOD, faces, write
from tests.client.test_sdk import newest_jobs

JOB_ID = re.compile(r"^job_[0-9a-z]{26}$", re.MULTILINE)


class Cli:
    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *args: str | Path) -> Result:
        return CliRunner().invoke(app, [str(arg) for arg in args], env={"CONGEAL_URL": self.url})


@pytest.fixture(scope="module")
def cli(running: EmbeddedService) -> Iterator[Cli]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console.out, "width", 200)
        yield Cli(running.url)


def job_id_in(result: Result) -> str:
    found = JOB_ID.search(result.stdout)
    assert found, result.output
    return found.group()


def test_submit_follows_the_job_and_fetches_its_result(cli: Cli, pictures: list[Path], tmp_path: Path) -> None:
    params = [part for name, value in SMALL.items() for part in ("-p", f"{name}={value}")]
    result = cli(
        "submit", pictures[0].parent, "-m", "neural_congealing", *params, "--seed", "3", "--out", tmp_path / "r"
    )
    assert result.exit_code == 0, result.output
    manifest = json.loads((tmp_path / "r" / "manifest.json").read_bytes())
    assert manifest["job_id"] == job_id_in(result)
    assert manifest["seed"] == 3
    assert manifest["params"]["working_size"] == 128
    assert manifest["params"]["flips"] == "off"
    assert [image["name"] for image in manifest["images"]] == [path.name for path in pictures]
    assert "succeeded" in result.stderr


def test_submit_prints_only_the_id_on_stdout_and_cancel_stops_it(cli: Cli, pictures: list[Path]) -> None:
    slow = ("-p", "similarity_steps=2000", "-p", "flow_steps=5000")
    result = cli("submit", *pictures, *slow, "--name", "slow", "--no-wait")
    assert result.exit_code == 0, result.output
    assert JOB_ID.fullmatch(result.stdout.strip())
    job_id = result.stdout.strip()
    assert cli("wait", job_id, "--timeout", "0.3").exit_code == ExitCode.GAVE_UP
    assert cli("cancel", job_id, "--reason", "enough").exit_code == 0
    waited = cli("wait", job_id, "--timeout", "30")
    assert waited.exit_code == ExitCode.JOB_UNSUCCESSFUL
    assert "canceled" in waited.stderr
    assert cli("cancel", job_id).exit_code == 0


def cells(result: Result) -> list[tuple[str, ...]]:
    """Rows of the tables that were printed."""
    found = [line.split("│")[1:-1] for line in result.stdout.splitlines() if line.startswith("│")]
    return [tuple(cell.strip() for cell in row) for row in found]


def test_annotations_go_along_with_the_pictures(cli: Cli, sdk: Congeal, pictures: list[Path], tmp_path: Path) -> None:
    path = write(tmp_path / "faces.json", faces([pictures[0].name, pictures[2].name, "elsewhere.png"]))
    result = cli("submit", pictures[0].parent, "-m", METHOD, "--annotations", path, "--no-wait")
    assert result.exit_code == 0, result.output
    job = sdk.cancel(job_id_in(result))
    told = sdk.annotations(job).images
    assert list(told) == [job.inputs.images[0].id, job.inputs.images[2].id]


def test_validate_shows_what_was_told_from_names_and_makes_no_job(
    cli: Cli, sdk: Congeal, pictures: list[Path], tmp_path: Path
) -> None:
    document = faces([path.name for path in pictures[:2]])
    document["categories"]["[odd] thing"] = {"names": ["tip", "stem"]}
    document["images"][pictures[2].name] = {"category": "[odd] thing", "keypoints": [[1, 2, 1], [3, 4, 0]]}
    path = write(tmp_path / "faces.json", document)
    before = newest_jobs(sdk)
    result = cli("submit", *pictures, "-m", METHOD, "--annotations", path, "-p", "grid=16", "--validate")
    assert result.exit_code == 0, result.output
    assert newest_jobs(sdk) == before
    assert not JOB_ID.search(result.stdout)
    assert f"accepted: {METHOD} 0.1, images: 3; no job was made" in result.stdout
    assert "annotated images: 3 of 3, visible keypoints: 7" in result.stdout
    assert re.search(r"category face +┃ keypoints: 3, images: 2", result.stdout)
    assert re.search(r"category \[odd\] thing +┃ keypoints: 2, images: 1", result.stdout)
    rows = cells(result)
    assert {("grid", "16"), ("imd.resolution", "32"), ("saliency", "none"), ("adapter", "null")} <= set(rows)
    assert rows[-6:] == [
        ("mirror pairs", "left eye ↔ right eye"),
        ("in no pair", "nose"),
        ("groups that look alike", "left eye, right eye"),
        ("mirror pairs", "not known: no name tells a side; give mirror_pairs, [] if nothing changes sides"),
        ("in no pair", "tip, stem"),
        ("groups that look alike", "none"),
    ]


def test_validate_tells_what_would_be_refused(cli: Cli, pictures: list[Path], tmp_path: Path) -> None:
    shown = cli("submit", *pictures, "--validate")
    assert shown.exit_code == 0, shown.output
    assert "annotated" not in shown.stdout
    path = write(tmp_path / "faces.json", faces([pictures[0].name]))
    refused = cli("submit", *pictures, "-m", "nearest_neighbors", "--annotations", path, "--validate")
    assert refused.exit_code == ExitCode.PROBLEM
    assert "nearest_neighbors takes no annotations" in refused.stderr
    unknown = cli("submit", *pictures, "-m", METHOD, "-p", "adapter=job_01k8zd6c2q4x7v9m3n5p8r0s1t", "--validate")
    assert unknown.exit_code == ExitCode.PROBLEM
    assert "job-used-not-found" in unknown.stderr
    assert "/params/adapter" in unknown.stderr


def test_status_shows_the_job(cli: Cli, finished: Job) -> None:
    shown = cli("status", finished.id)
    assert shown.exit_code == 0
    assert "succeeded" in shown.stdout
    assert finished.id in shown.stdout
    as_json = Job.model_validate_json(cli("status", finished.id, "--json").stdout)
    assert as_json.id == finished.id


def test_fetch_and_wait_work_on_a_finished_job(cli: Cli, finished: Job, tmp_path: Path) -> None:
    assert cli("wait", finished.id).exit_code == 0
    result = cli("fetch", finished.id, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "manifest.json").is_file()


def test_methods_are_listed_and_explained(cli: Cli, sdk: Congeal) -> None:
    listed = cli("methods")
    assert listed.exit_code == 0, listed.output
    assert all(method.id in listed.stdout for method in sdk.methods())
    explained = cli("methods", "neural_congealing")
    assert explained.exit_code == 0
    row = next(line for line in explained.stdout.splitlines() if "working_size" in line)
    assert all(part in row for part in ("integer", "256", "≥ 128", "≤ 512", "multiple of 32", "Longer side"))
    assert "auto, off" in explained.stdout
    assert "dinov2_vits14" in explained.stdout


def test_a_problem_is_told_with_its_fields(cli: Cli, pictures: list[Path]) -> None:
    result = cli("submit", *pictures, "-p", "working_size=100", "-p", "smothness=1", "--no-wait")
    assert result.exit_code == ExitCode.PROBLEM
    assert "/params/working_size" in result.stderr
    assert "/params/smothness" in result.stderr
    assert "Traceback" not in result.output
    assert cli("status", "job_01k8zd6c2q4x7v9m3n5p8r0s1t").exit_code == ExitCode.PROBLEM


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("submit", "nowhere.png"), "nowhere.png does not exist"),
        (("submit", __file__, "-p", "working_size"), "KEY=VALUE"),
        (("submit", __file__, "-p", "a=1", "-p", "a=2"), "given twice"),
        (("submit", __file__, "--no-wait", "--out", "x"), "--out needs --wait"),
        (("submit", __file__, "--validate", "--out", "x"), "--out needs a job: leave out --validate"),
        (("submit", __file__, "--annotations", "nowhere.json"), "nowhere.json does not exist"),
        (("submit",), "Missing argument"),
        (("methods", "--url", "localhost:8000"), "not an address"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_sent(cli: Cli, args: tuple[str, ...], told: str) -> None:
    result = cli(*args)
    assert result.exit_code == ExitCode.USAGE
    assert told in result.stderr
    assert "Traceback" not in result.output


def test_no_service_has_an_exit_code_of_its_own() -> None:
    url = f"http://127.0.0.1:{free_port('127.0.0.1')}"
    result = Cli(url)("methods")
    assert result.exit_code == ExitCode.UNREACHABLE
    assert url in result.stderr
    assert "congeal up" in result.stderr
    assert "Traceback" not in result.output


def test_up_tells_that_a_port_is_taken(running: EmbeddedService, tmp_path: Path) -> None:
    result = Cli("")("up", "--port", str(running.port), "--data-dir", tmp_path)
    assert result.exit_code == ExitCode.GAVE_UP
    assert f"port {running.port}" in result.stderr
    assert "--port" in result.stderr


def test_version_is_printed() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", Cli("")("--version").stdout)
