from pathlib import Path

import pytest
from PIL import Image

from api_schemas.events import EventType, JobEvent
from api_schemas.jobs import Job, JobState
from api_schemas.keypoints.schema import KeypointSchema
from client.errors import ProblemError, UnexpectedAnswerError, WaitTimeoutError
from client.processes import EmbeddedService
from client.sdk import Congeal
from client.transport import Transport
from client.uploads import batches
from tests.client.bad_line import bad_line
from tests.client.conftest import SMALL
from tests.client.pictures import write_pictures


def test_upload_keeps_the_order_and_knows_pictures_again(sdk: Congeal, pictures: list[Path]) -> None:
    backwards = list(reversed(pictures))
    images = sdk.upload(backwards)
    assert [image.name for image in images] == [path.name for path in backwards]
    assert [(image.width, image.height) for image in images] == [(128, 128)] * 3
    again = sdk.upload([pictures[0].parent])
    assert [image.id for image in again] == [image.id for image in reversed(images)]


def test_upload_is_split_into_requests_of_bounded_size(sdk: Congeal, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 43, seed=5, side=16)
    assert [len(batch) for batch in batches(paths)] == [20, 20, 3]
    images = sdk.upload(paths)
    assert [image.name for image in images] == [path.name for path in paths]


def test_upload_names_what_it_cannot_read(sdk: Congeal, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png does not exist"):
        sdk.upload([tmp_path / "nowhere.png"])
    with pytest.raises(FileNotFoundError, match="holds no pictures"):
        sdk.upload([tmp_path])


def test_a_file_that_is_no_picture_is_refused_with_its_name(sdk: Congeal, tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    with pytest.raises(ProblemError, match=r"notes\.png") as caught:
        sdk.upload([path])
    assert caught.value.problem.status == 422
    assert caught.value.problem.code == "not-an-image"


def test_the_same_picture_twice_is_told_before_the_job_is_made(sdk: Congeal, tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30), "teal").save(tmp_path / name)
    with pytest.raises(ValueError, match="same picture"):
        sdk.submit("neural_congealing", paths=[tmp_path])


def test_a_set_keeps_its_order_and_a_job_can_be_made_of_it(sdk: Congeal, pictures: list[Path]) -> None:
    images = list(reversed(sdk.upload([*pictures])))
    image_set = sdk.create_image_set(images, name="three")
    assert [image.id for image in image_set.images] == [image.id for image in images]
    job = sdk.cancel(sdk.submit("nearest_neighbors", image_set=image_set, labels={"why": "test"}), reason="enough")
    assert job.inputs.image_set_id == image_set.id
    assert job.labels == {"why": "test"}
    assert sdk.wait(job, timeout_s=30).state is JobState.CANCELED


def test_a_submission_needs_exactly_one_source(sdk: Congeal) -> None:
    with pytest.raises(ValueError, match="exactly one"):
        sdk.submit("neural_congealing")


def test_an_idempotency_key_makes_one_job_of_two_submissions(sdk: Congeal, finished: Job) -> None:
    first, second = (
        sdk.submit(
            "nearest_neighbors", image_set=finished.inputs.image_set_id, idempotency_key="one-and-only", name="once"
        )
        for _ in range(2)
    )
    assert first.id == second.id
    sdk.cancel(first)


def test_a_lost_answer_makes_no_second_job(running: EmbeddedService, sdk: Congeal, finished: Job) -> None:
    with bad_line(running.url) as line, Congeal(line.url) as congeal:
        line.cut_after = [10]
        job = congeal.submit("nearest_neighbors", image_set=finished.inputs.image_set_id, name="lost answer")
    assert line.connections == 2
    events = list(sdk.events(sdk.cancel(job)))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    newest = sdk._transport.http.get("/v1/jobs", params={"limit": 5}).json()["items"]
    assert [item["name"] for item in newest].count("lost answer") == 1


def test_bad_parameters_come_back_as_a_problem_that_says_where(sdk: Congeal, finished: Job) -> None:
    with pytest.raises(ProblemError) as caught:
        sdk.submit("neural_congealing", image_set=finished.inputs.image_set_id, params={"working_size": 100})
    problem = caught.value.problem
    assert problem.status == 422
    assert [error.pointer for error in problem.errors] == ["/params/working_size"]
    assert "/params/working_size" in str(caught.value)
    assert problem.request_id in str(caught.value)


def test_unknown_things_come_back_as_problems(sdk: Congeal) -> None:
    for ask in (sdk.get, sdk.cancel, sdk.manifest, lambda job: list(sdk.events(job))):
        with pytest.raises(ProblemError) as caught:
            ask("job_01k8zd6c2q4x7v9m3n5p8r0s1t")
        assert caught.value.problem.status == 404
    with pytest.raises(ProblemError, match="no_such_method"):
        sdk.method("no_such_method")


def test_methods_describe_their_parameters(sdk: Congeal, finished: Job) -> None:
    methods = {method.id: method for method in sdk.methods()}
    assert methods[finished.method].ready
    assert {"neural_congealing", "nearest_neighbors"} <= set(methods)
    schema = sdk.method("neural_congealing").params_schema
    assert isinstance(schema["properties"], dict)
    assert "working_size" in schema["properties"]


def test_wait_reports_every_event_once_and_in_order(sdk: Congeal, finished: Job) -> None:
    events: list[JobEvent] = []
    job = sdk.wait(finished.id, on_event=events.append)
    seen = [event.seq for event in events]
    kinds = [event.type for event in events]
    assert job.state is JobState.SUCCEEDED
    assert seen == list(range(1, len(seen) + 1))
    assert kinds[0] is EventType.QUEUED
    assert kinds[-1] is EventType.SUCCEEDED
    assert EventType.STAGE in kinds
    assert [event.seq for event in sdk.events(finished, after=seen[-2])] == seen[-1:]


def test_wait_gives_up_in_time_and_the_job_goes_on(sdk: Congeal, finished: Job) -> None:
    long = {**SMALL, "similarity_steps": 2000, "flow_steps": 5000}
    job = sdk.submit("neural_congealing", image_set=finished.inputs.image_set_id, params=long)
    with pytest.raises(WaitTimeoutError, match=job.id):
        sdk.wait(job, timeout_s=0.5)
    assert not sdk.get(job).state.is_terminal
    sdk.cancel(job)
    assert sdk.wait(job, timeout_s=30).state is JobState.CANCELED


def test_transfer_carries_points_to_all_other_images(sdk: Congeal, finished: Job) -> None:
    ids = [image.id for image in finished.inputs.images]
    answer = sdk.transfer(finished, source=ids[0], points=[(64.0, 64.0), (60.5, 50.0)])
    assert {target.target for target in answer.targets} >= set(ids[1:])
    assert all(len(target.points) == len(target.confidence) == 2 for target in answer.targets)
    atlas = sdk.transfer(finished, source=ids[0], points=[(64.0, 64.0)], targets=["atlas"])
    assert [target.target for target in atlas.targets] == ["atlas"]


def test_evaluate_scores_known_keypoints(sdk: Congeal, finished: Job) -> None:
    ids = [image.id for image in finished.inputs.images]
    keypoints = {image_id: [(64.0, 64.0, 1), (50.0, 60.0, 1)] for image_id in ids}
    scores = sdk.evaluate(finished, keypoints=keypoints, threshold="image", alphas=[0.1, 1.0])
    assert (scores.pairs, scores.points) == (6, 12)
    assert [row.alpha for row in scores.pck] == [0.1, 1.0]
    # The keypoints stand at the same places everywhere, which is just what the baseline says.
    assert [row.identity for row in scores.pck] == [1.0, 1.0]


def test_evaluate_asks_for_sides_and_viewpoints(sdk: Congeal, finished: Job) -> None:
    ids = [image.id for image in finished.inputs.images]
    keypoints = {image_id: [(50.0, 60.0, 1), (78.0, 60.0, 1)] for image_id in ids}
    plain = sdk.evaluate(finished, keypoints=keypoints, threshold="image")
    assert (plain.geometry_aware, plain.mirrored, plain.azimuth_bins) == (None, None, None)
    schema = KeypointSchema(names=["left eye", "right eye"])
    azimuths = dict(zip(ids, (0, 1, 4), strict=True))
    for given in (schema, schema.model_dump(mode="json")):
        scores = sdk.evaluate(
            finished, keypoints=keypoints, threshold="image", keypoint_schema=given, azimuths=azimuths
        )
        assert scores.geometry_aware is not None
        assert scores.mirrored is not None
        assert scores.azimuth_bins is not None
        assert (scores.geometry_aware.pairs, scores.geometry_aware.points) == (6, 12)
        assert [each.pairs for each in scores.azimuth_bins] == [0, 2, 0, 2, 2]
    with pytest.raises(ProblemError, match="did you mean 'spair71k/bottle'"):
        sdk.evaluate(finished, keypoints=keypoints, threshold="image", keypoint_schema="spair71k/botle")


def test_validate_resolves_a_submission_and_makes_no_job(
    sdk: Congeal, finished: Job, pictures: list[Path], tmp_path: Path
) -> None:
    before = newest_jobs(sdk)
    masks = write_pictures(tmp_path / "masks", 3, seed=92)
    found = sdk.validate("neural_congealing", paths=[*pictures], params=SMALL, masks=[*masks])
    assert (found.method, found.images, found.annotations) == ("neural_congealing", 3, None)
    assert found.params == {**finished.params, "saliency": "user"}
    with pytest.raises(ProblemError) as caught:
        sdk.validate("neural_congealing", image_set=finished.inputs.image_set_id, params={"working_size": 100})
    assert [error.pointer for error in caught.value.problem.errors] == ["/params/working_size"]
    extended = sdk.validate("neural_congealing", paths=[*write_pictures(tmp_path, 1, seed=91)], extends=finished)
    assert (extended.images, extended.params) == (4, finished.params)
    assert newest_jobs(sdk) == before


def test_a_job_that_was_told_nothing_has_no_annotations(sdk: Congeal, finished: Job) -> None:
    with pytest.raises(ProblemError, match="has no annotations"):
        sdk.annotations(finished)


def newest_jobs(sdk: Congeal) -> list[str]:
    """Ids of the newest jobs, newest first."""
    return [item["id"] for item in sdk._transport.http.get("/v1/jobs", params={"limit": 5}).json()["items"]]


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="http://127"):
        Transport("127.0.0.1:8000", timeout_s=1)


def test_another_server_is_not_taken_for_a_service(running: EmbeddedService) -> None:
    with Congeal(f"{running.url}/docs") as congeal, pytest.raises((ProblemError, UnexpectedAnswerError)):
        congeal.methods()
