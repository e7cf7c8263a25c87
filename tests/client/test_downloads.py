import hashlib
from pathlib import Path

import pytest

from api_schemas.jobs import Job
from api_schemas.manifest import Manifest
from client.downloads import atomic_file
from client.errors import DamagedDownloadError, ProblemError
from client.processes import EmbeddedService
from client.sdk import Congeal
from tests.client.bad_line import bad_line


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_fetch_brings_every_artifact_with_its_checksum(sdk: Congeal, finished: Job, tmp_path: Path) -> None:
    manifest = sdk.fetch(finished, tmp_path)
    assert files_in(tmp_path) == {"manifest.json", *(artifact.name for artifact in manifest.artifacts)}
    for artifact in manifest.artifacts:
        content = (tmp_path / artifact.name).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (artifact.bytes, artifact.sha256)
    stored = Manifest.model_validate_json((tmp_path / "manifest.json").read_bytes())
    assert stored == manifest


def test_fetch_again_mends_what_is_wrong_and_keeps_the_rest(sdk: Congeal, finished: Job, tmp_path: Path) -> None:
    manifest = sdk.fetch(finished, tmp_path)
    damaged, missing, *right = (tmp_path / artifact.name for artifact in manifest.artifacts)
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    missing.unlink()
    untouched = {path: path.stat().st_mtime_ns for path in right}
    sdk.fetch(finished, tmp_path)
    assert hashlib.sha256(damaged.read_bytes()).hexdigest() == manifest.artifacts[0].sha256
    assert missing.is_file()
    assert {path: path.stat().st_mtime_ns for path in right} == untouched


def test_a_broken_download_is_tried_again(running: EmbeddedService, finished: Job, tmp_path: Path) -> None:
    with bad_line(running.url) as line, Congeal(line.url) as congeal:
        line.cut_after = [100, 100]
        manifest = congeal.fetch(finished, tmp_path)
    assert line.connections >= 3
    assert files_in(tmp_path) == {"manifest.json", *(artifact.name for artifact in manifest.artifacts)}


def test_damaged_bytes_are_never_written(running: EmbeddedService, finished: Job, tmp_path: Path) -> None:
    with bad_line(running.url) as line, Congeal(line.url) as congeal:
        line.swap = (b"IDAT", b"IDOT")
        with pytest.raises(DamagedDownloadError, match=r"pictures/.*SHA-256"):
            congeal.fetch(finished, tmp_path)
    assert not [name for name in files_in(tmp_path) if name.endswith((".png", "manifest.json"))]
    assert not [name for name in files_in(tmp_path) if Path(name).name.startswith(".")]


def test_a_job_without_a_result_has_nothing_to_fetch(sdk: Congeal, finished: Job, tmp_path: Path) -> None:
    job = sdk.cancel(sdk.submit("nearest_neighbors", image_set=finished.inputs.image_set_id))
    sdk.wait(job, timeout_s=30)
    with pytest.raises(ProblemError) as caught:
        sdk.fetch(job, tmp_path)
    assert caught.value.problem.status == 409
    assert files_in(tmp_path) == set()


def test_an_atomic_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.bin"

    def break_off() -> None:
        with atomic_file(target) as stream:
            stream.write(b"half")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        break_off()
    assert files_in(tmp_path) == set()
    with atomic_file(target) as stream:
        stream.write(b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert files_in(tmp_path) == {"deep/file.bin"}
