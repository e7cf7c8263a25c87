"""Masks and extensions through the SDK and the command line, against a real service."""

from pathlib import Path

import pytest
from PIL import Image

from api_schemas.jobs import Job, JobState
from client.console import ExitCode
from client.errors import ProblemError
from client.masks import match_masks
from client.processes import EmbeddedService
from client.sdk import Congeal
from tests.client.conftest import SMALL
from tests.client.pictures import write_pictures
from tests.client.test_cli import Cli, job_id_in


@pytest.fixture(scope="module")
def cli(running: EmbeddedService) -> Cli:
    return Cli(running.url)


def write_masks(folder: Path, pictures: list[Path], *, suffix: str = "", side: int = 128) -> list[Path]:
    """Write a mask with a square of another grey for each picture."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{picture.stem}{suffix}.png" for picture in pictures]
    for index, path in enumerate(paths):
        mask = Image.new("L", (side, side))
        mask.paste(255 - index, (30, 30, side - 30, side - 30))
        mask.save(path)
    return paths


def names_of_masks(sdk: Congeal, job: Job) -> list[str]:
    """Return what the masks of a job were called, in the order of its images."""
    ids = [image.mask_id for image in job.inputs.images]
    found = [sdk._transport.http.get(f"/v1/images/{mask_id}").json()["name"] for mask_id in ids]
    return [str(name) for name in found]


def test_masks_are_found_by_stem(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    plain = write_masks(tmp_path / "plain", pictures)
    suffixed = write_masks(tmp_path / "suffixed", pictures, suffix="_mask")
    (tmp_path / "plain" / "notes.txt").write_text("not a mask")
    assert match_masks(list(reversed(pictures)), tmp_path / "plain") == list(reversed(plain))
    assert match_masks(pictures, tmp_path / "suffixed") == suffixed


def test_masks_that_are_missing_are_named(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 3)
    masks = write_masks(tmp_path / "masks", pictures)
    masks[0].unlink()
    masks[2].unlink()
    with pytest.raises(FileNotFoundError, match=r"no mask for 00\.png, 02\.png;"):
        match_masks(pictures, tmp_path / "masks")
    with pytest.raises(FileNotFoundError, match="is no folder"):
        match_masks(pictures, tmp_path / "nowhere")


def test_masks_that_may_be_either_are_named(tmp_path: Path) -> None:
    pictures = write_pictures(tmp_path / "pictures", 1)
    for suffix in ("", "_mask"):
        write_masks(tmp_path / "masks", pictures, suffix=suffix)
    with pytest.raises(ValueError, match=r"00\.png or 00_mask\.png"):
        match_masks(pictures, tmp_path / "masks")
    with pytest.raises(ValueError, match="picture itself"):
        match_masks(pictures, tmp_path / "pictures")


def test_masks_come_as_files_images_or_ids(sdk: Congeal, pictures: list[Path], tmp_path: Path) -> None:
    files = write_masks(tmp_path, pictures, suffix="_mask")
    uploaded = sdk.upload(files[1:])
    masks = [str(files[0]), uploaded[0], uploaded[1].id]
    for sources in ({"paths": [*pictures]}, {"image_set": sdk.create_image_set(sdk.upload([*pictures])).id}):
        job = sdk.cancel(sdk.submit("nearest_neighbors", masks=masks, **sources))  # type: ignore[arg-type]
        assert names_of_masks(sdk, job) == [path.name for path in files]
        assert job.params["saliency"] == "user"


def test_masks_are_counted_and_found_before_the_job_is_made(sdk: Congeal, pictures: list[Path], tmp_path: Path) -> None:
    files = write_masks(tmp_path, pictures)
    with pytest.raises(ValueError, match="3 images and 2 masks"):
        sdk.submit("nearest_neighbors", paths=[*pictures], masks=[*files[:2]])
    with pytest.raises(ValueError, match="3 images and 2 masks"):
        sdk.submit("nearest_neighbors", images=sdk.upload([*pictures]), masks=[*files[:2]])
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        sdk.submit("nearest_neighbors", paths=[*pictures], masks=[*files[:2], tmp_path / "gone.png"])


def test_a_folder_of_masks_on_the_command_line(cli: Cli, sdk: Congeal, pictures: list[Path], tmp_path: Path) -> None:
    files = write_masks(tmp_path, pictures, suffix="_mask")
    arguments = ("submit", pictures[0].parent, "-m", "nearest_neighbors", "--masks", tmp_path)
    result = cli(*arguments, "-p", "working_size=64")
    assert result.exit_code == 0, result.output
    job = sdk.get(job_id_in(result))
    assert job.state is JobState.SUCCEEDED
    assert names_of_masks(sdk, job) == [path.name for path in files]
    files[1].unlink()
    refused = cli(*arguments)
    assert refused.exit_code == ExitCode.USAGE
    assert "no mask for 01.png" in refused.stderr


def test_a_job_extends_another(cli: Cli, sdk: Congeal, finished: Job, tmp_path: Path) -> None:
    new = write_pictures(tmp_path, 2, seed=77)
    before = [image.id for image in finished.inputs.images]
    job = sdk.cancel(sdk.submit(finished.method, paths=[new[0]], extends=finished))
    assert job.inputs.extends == finished.id
    assert [image.id for image in job.inputs.images][:-1] == before
    assert job.params == finished.params
    result = cli("submit", new[1], "--extends", finished.id, "--no-wait")
    assert result.exit_code == 0, result.output
    again = sdk.cancel(job_id_in(result))
    assert (again.method, again.inputs.extends) == (finished.method, finished.id)
    assert finished.id in cli("status", again.id).stdout


def test_what_cannot_be_extended_comes_back_as_a_problem(sdk: Congeal, cli: Cli, finished: Job, tmp_path: Path) -> None:
    (new,) = write_pictures(tmp_path, 1, seed=78)
    with pytest.raises(ProblemError) as caught:
        sdk.submit(finished.method, paths=[new], extends=finished.id, params={"working_size": 256})
    assert caught.value.problem.code == "base-mismatch"
    assert SMALL["working_size"] != 256
    assert "/params/working_size" in str(caught.value)
    refused = cli("submit", new, "--extends", "job_01k8zd6c2q4x7v9m3n5p8r0s1t")
    assert refused.exit_code == ExitCode.PROBLEM
