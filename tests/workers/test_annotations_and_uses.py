"""Annotations and the results of other jobs reach the method, through the store and the runner's process."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import JsonValue
from safetensors.numpy import load, load_file

from alignment.pairwise import PairwiseMaps
from alignment.sampling import ImageSize, cell_centres
from api_schemas.annotations.model import Annotations, ImageAnnotation
from api_schemas.annotations.resolution import resolved
from api_schemas.jobs import JobState
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.manifest import ArtifactKind
from storage.blobs.keys import artifact_key
from storage.database.records import JobRecord, NewJob, utc_now
from storage.database.repositories.jobs import JobRepository
from tests.workers.conftest import Crew, scratch_files
from tests.workers.workplace import Workplace, noise_pictures
from workers.checkpoint_store import CheckpointStore
from workers.ledger import JobInputs, Ledger
from workers.methods.annotation import annotation_of
from workers.methods.base import InputImage, MethodResult
from workers.methods.export import export
from workers.preparation import BaseMissingError, prepare_run, run_digest
from workers.protocol import RunCommand, decode_command, encode

STRANGER = "job_01k8zd6c2q4x7v9m3n5p8r0s1t"
WEIGHTS, CONFIG = "adapter/weights.safetensors", "adapter/config.json"
NAMES = ["left eye", "right eye", "nose"]
FEATURES: dict[str, JsonValue] = {"backbone": "dense_descriptor", "grid": 16}
TRAINING: dict[str, JsonValue] = {**FEATURES, "training": {"steps": 2, "batch_images": 2, "width": 32}}


def annotations(image_ids: list[str], *, shift: float = 0, **changed: Any) -> dict[str, JsonValue]:
    """Faces on all images, complete, as the service stores them."""
    keypoints = [[8 + shift, 8, 1], [24, 9, 2], [16, 20, 0]]
    given = Annotations.model_validate(
        {
            "categories": {"face": {"names": NAMES}},
            "images": {image_id: {"keypoints": keypoints, "box": [4, 4, 30, 30]} for image_id in image_ids},
        }
        | changed
    )
    document: dict[str, JsonValue] = resolved(given).model_dump(mode="json")
    return document


def submit(
    place: Workplace, image_set_id: str, method: str, params: dict[str, JsonValue], known: dict[str, JsonValue] | None
) -> JobRecord:
    """Queue a job with annotations."""
    job = NewJob(
        method=method,
        method_version="0.1",
        lane="default",
        image_set_id=image_set_id,
        params=params,
        seed=3,
        deadline_at=utc_now() + timedelta(seconds=600),
        max_attempts=1,
        uses={name: str(params[name]) for name in ("adapter", "start") if params.get(name)} or None,
    )
    with place.database.transaction() as session:
        return JobRepository(session).add(job, annotations=known)


def run(crew: Crew, place: Workplace, job: JobRecord) -> JobRecord:
    """Run a queued job to its success."""
    crew.work()
    done = place.job(job.id)
    assert done.state is JobState.SUCCEEDED, done.error
    return done


@pytest.fixture(scope="module")
def trio(workplace: Workplace) -> str:
    """A set of three pictures."""
    return workplace.upload(noise_pictures(3, seed=4))


@pytest.fixture(scope="module")
def adapter(crew: Crew, workplace: Workplace, trio: str) -> JobRecord:
    """A training that has succeeded."""
    known = annotations(workplace.image_ids(trio))
    return run(crew, workplace, submit(workplace, trio, "geo_aware_adapter", TRAINING, known))


def command_of(place: Workplace, job: JobRecord, folder: Path) -> RunCommand:
    """What the runner would be told of a job, there and back over the pipe."""
    ledger = Ledger(place.database, job, lease_s=60)
    command = prepare_run(
        job,
        ledger.inputs(),
        blobs=place.blobs,
        checkpoints=CheckpointStore(job, blobs=place.blobs, ledger=ledger),
        folder=folder,
        checkpoint_interval_s=1,
        between=lambda: None,
    )
    decoded = decode_command(encode(command))
    assert isinstance(decoded, RunCommand)
    assert decoded == command
    return decoded


def document(place: Workplace, job: JobRecord, name: str) -> dict[str, Any]:
    """A document of a job's result."""
    found: dict[str, Any] = json.loads(place.content(job.id, f"{name}.json"))
    return found


def test_a_training_leaves_its_adapter(workplace: Workplace, adapter: JobRecord) -> None:
    artifacts = {artifact.name: artifact for artifact in workplace.manifest(adapter.id).artifacts}
    kinds = {name: artifacts[name].kind for name in (WEIGHTS, CONFIG, "pck_report.json", "pairs.json")}
    assert list(kinds.values()) == [
        ArtifactKind.ADAPTER,
        ArtifactKind.ADAPTER_CONFIG,
        ArtifactKind.PCK_REPORT,
        ArtifactKind.PAIR_SUMMARY,
    ]
    weights = load(workplace.content(adapter.id, WEIGHTS))
    told = {tensor.name: tuple(tensor.shape) for tensor in artifacts[WEIGHTS].tensors}
    assert told == {name: array.shape for name, array in weights.items()}
    assert document(workplace, adapter, "adapter/config")["backbone"] == "dense_descriptor"


def test_an_adapter_and_keypoints_reach_the_method(
    crew: Crew, workplace: Workplace, trio: str, adapter: JobRecord
) -> None:
    first, _, third = workplace.image_ids(trio)
    known = annotations([first, third])
    asked: dict[str, JsonValue] = {**FEATURES, "pairs": [[0, 1], [1, 0], [2, 0]], "variants": ["id", "flip"]}
    params: dict[str, JsonValue] = {**asked, "adapter": adapter.id}
    job = run(crew, workplace, submit(workplace, trio, "geo_aware", params, known))
    carried = document(workplace, job, "keypoint_transfer")
    assert carried["names"] == {"face": NAMES}
    assert [(row["source"], row["target"]) for row in carried["pairs"]] == [(0, 1), (2, 0)]
    assert [[point[0] for point in row["points"]] for row in carried["pairs"]] == [[0, 1], [0, 1]]
    plain = run(crew, workplace, submit(workplace, trio, "geo_aware", asked, None))
    assert not [name for name in workplace.files(plain.id) if "keypoint" in name]
    distances = [load(workplace.content(one.id, "imd_matrix.safetensors"))["imd_matrix"] for one in (job, plain)]
    assert np.isfinite(distances[0][0, 1]).all()
    assert not np.allclose(distances[0][0, 1], distances[1][0, 1])
    assert scratch_files(workplace) == []


def test_a_used_job_that_is_gone_ends_the_job(crew: Crew, workplace: Workplace, trio: str) -> None:
    job = submit(workplace, trio, "geo_aware", {**FEATURES, "adapter": STRANGER}, None)
    crew.work()
    error = workplace.job(job.id).error
    assert error is not None
    assert (error["code"], error["retryable"]) == ("base-missing", False)
    assert "parameter 'adapter'" in str(error["detail"])


def test_a_used_result_whose_files_are_gone_ends_the_job(crew: Crew, workplace: Workplace, trio: str) -> None:
    known = annotations(workplace.image_ids(trio))
    used = run(crew, workplace, submit(workplace, trio, "geo_aware_adapter", TRAINING, known))
    workplace.blobs.delete(artifact_key(used.id, used.fence, WEIGHTS))
    job = submit(workplace, trio, "geo_aware_adapter", {**TRAINING, "start": used.id}, known)
    crew.work()
    error = workplace.job(job.id).error
    assert error is not None
    assert error["code"] == "base-missing"
    assert WEIGHTS in str(error["detail"])
    assert used.id in str(error["detail"])


def test_the_runner_is_told_all_that_is_known(
    workplace: Workplace, trio: str, adapter: JobRecord, tmp_path: Path
) -> None:
    first, _, third = workplace.image_ids(trio)
    known = Annotations.model_validate(annotations([third, first]))
    stored = known.model_dump(mode="json")
    job = submit(workplace, trio, "geo_aware", {**FEATURES, "adapter": adapter.id}, stored)
    workplace.cancel(job.id)
    command = command_of(workplace, job, tmp_path)
    assert [image.annotation for image in command.images] == [known.images[first], None, known.images[third]]
    assert command.categories == known.categories
    assert command.categories["face"].mirror_pairs == [(0, 1)]
    assert command.used == {"adapter": tmp_path / "used-adapter"}
    files = {str(path.relative_to(command.used["adapter"])) for path in command.used["adapter"].rglob("*.*")}
    assert {WEIGHTS, CONFIG, "manifest.json", "pck_report.json"} <= files
    assert not [name for name in files if name.endswith(".png")]
    assert (command.used["adapter"] / WEIGHTS).read_bytes() == workplace.content(adapter.id, WEIGHTS)


def test_without_annotations_and_uses_the_runner_is_told_nothing(
    workplace: Workplace, trio: str, tmp_path: Path
) -> None:
    job = submit(workplace, trio, "geo_aware", FEATURES, None)
    workplace.cancel(job.id)
    command = command_of(workplace, job, tmp_path)
    assert {image.annotation for image in command.images} == {None}
    assert (command.categories, command.used) == ({}, {})


def test_a_used_job_that_is_gone_is_not_prepared(workplace: Workplace, trio: str, tmp_path: Path) -> None:
    job = submit(
        workplace, trio, "geo_aware_adapter", {**TRAINING, "start": STRANGER}, annotations(workplace.image_ids(trio))
    )
    workplace.cancel(job.id)
    with pytest.raises(BaseMissingError, match="parameter 'start'"):
        command_of(workplace, job, tmp_path)


def test_the_digest_of_a_run_tells_annotations_and_uses(workplace: Workplace, trio: str) -> None:
    image_ids = workplace.image_ids(trio)
    job = submit(workplace, trio, "geo_aware", FEATURES, annotations(image_ids))
    workplace.cancel(job.id)
    inputs = Ledger(workplace.database, job, lease_s=60).inputs()
    assert inputs.annotations is not None
    digest = run_digest(job, inputs)
    assert digest == run_digest(job, Ledger(workplace.database, job, lease_s=60).inputs())
    other_digests = {
        run_digest(job, JobInputs(images=inputs.images, annotations=given))
        for given in (
            None,
            Annotations.model_validate(annotations(image_ids, shift=0.5)),
            Annotations.model_validate(annotations(image_ids[:2])),
            Annotations.model_validate(annotations(image_ids, categories={"face": {"names": NAMES, "groups": []}})),
        )
    }
    users = [
        submit(workplace, trio, "geo_aware", {**FEATURES, "adapter": used}, annotations(image_ids))
        for used in (STRANGER, job.id)
    ]
    for user in users:
        workplace.cancel(user.id)
        other_digests.add(run_digest(user, inputs))
    assert len(other_digests) == 6
    assert digest not in other_digests


def test_a_method_sees_keypoints_as_pixels_and_whether_they_are_known() -> None:
    schema = KeypointSchema(names=NAMES, mirror_pairs=[(0, 1)])
    given = ImageAnnotation(
        category="face", keypoints=[(8, 9.5, 2), (3, 4, 0), (1, 2, 1)], box=(1, 2, 3, 4), azimuth=3, pose="left"
    )
    seen = annotation_of(given, {"face": schema, "cat": KeypointSchema(names=["tail"])})
    np.testing.assert_array_equal(seen.keypoints, [[8, 9.5, 1], [0, 0, 0], [1, 2, 1]])
    assert (seen.category, seen.schema, seen.box) == ("face", schema, (1, 2, 3, 4))
    assert (seen.azimuth, seen.pose, seen.split) == (3, "left", None)
    bare = annotation_of(ImageAnnotation(split="val"), {"face": schema, "cat": schema})
    assert (bare.category, bare.schema, bare.keypoints.shape, bare.split) == ("", None, (0, 3), "val")


def pair_result(**changed: Any) -> tuple[MethodResult, list[InputImage]]:
    """Maps between two pictures, and the pictures."""
    images = [InputImage(f"{number}.png", rgb) for number, rgb in enumerate(noise_pictures(2))]
    size = ImageSize(images[0].width, images[0].height)
    maps = dict.fromkeys([(0, 1)], cell_centres(8, 9, size.extent).astype(np.float32))
    form = PairwiseMaps((size, size), maps, {(0, 1): np.ones((8, 9), dtype=np.float32)})
    return MethodResult(form=form, backbone="none", **changed), images


def test_documents_and_bundles_become_artifacts(tmp_path: Path) -> None:
    weights = {"a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "a.scale": np.array(2.5, dtype=np.float32)}
    poses: list[JsonValue] = [{"image": 0, "pose": "links ←", "margin": None}]
    result, images = pair_result(
        documents={"pose_prediction": poses, "adapter/config": {"width": 3}}, bundles={"adapter/weights": weights}
    )
    exported = export(result, images, tmp_path)
    drafts = {draft.name: draft for draft, _ in exported.artifacts}
    assert json.loads((tmp_path / "pose_prediction.json").read_text(encoding="utf-8")) == poses
    assert json.loads((tmp_path / CONFIG).read_text(encoding="utf-8")) == {"width": 3}
    assert drafts["pose_prediction.json"].kind is ArtifactKind.POSE_PREDICTION
    assert drafts[CONFIG].kind is ArtifactKind.ADAPTER_CONFIG
    assert (drafts[WEIGHTS].kind, drafts[WEIGHTS].images) == (ArtifactKind.ADAPTER, [])
    assert [(tensor.name, tuple(tensor.shape)) for tensor in drafts[WEIGHTS].tensors] == [
        (name, array.shape) for name, array in weights.items()
    ]
    kept = load_file(tmp_path / WEIGHTS)
    assert all(np.array_equal(kept[name], array) for name, array in weights.items())


@pytest.mark.parametrize(
    ("what", "given"), [("document", {"documents": {"gossip": []}}), ("bundle", {"bundles": {"gossip": {}}})]
)
def test_what_the_manifest_has_no_kind_for_is_refused(tmp_path: Path, what: str, given: dict[str, Any]) -> None:
    result, images = pair_result(**given)
    with pytest.raises(ValueError, match=f"{what} 'gossip' has no artifact kind"):
        export(result, images, tmp_path)


def test_numbers_that_json_has_no_word_for_are_refused(tmp_path: Path) -> None:
    result, images = pair_result(documents={"pck_report": {"share": float("nan")}})
    with pytest.raises(ValueError, match="JSON"):
        export(result, images, tmp_path)
