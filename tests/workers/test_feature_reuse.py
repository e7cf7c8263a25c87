"""What one job has described, the next one need not."""

from api_schemas.events import EventType
from api_schemas.jobs import JobState
from tests.workers.conftest import Crew
from tests.workers.workplace import Workplace, noise_pictures

PARAMS = {"backbone": "dense_descriptor", "working_size": 64}


def told(place: Workplace, job_id: str) -> list[str]:
    return [str(event.data["message"]) for event in place.events(job_id) if event.type is EventType.LOG]


def run(crew: Crew, place: Workplace, image_set_id: str, method: str, **params: object) -> str:
    job_id = place.submit(image_set_id, method, **{**PARAMS, **params})
    crew.work()
    assert place.job(job_id).state is JobState.SUCCEEDED, place.job(job_id).error
    return job_id


def test_a_second_job_takes_its_features_from_the_cache(crew: Crew, workplace: Workplace) -> None:
    three, four = (workplace.upload(noise_pictures(count)) for count in (3, 4))
    first = run(crew, workplace, three, "nearest_neighbors")
    assert told(workplace, first) == []
    second = run(crew, workplace, three, "nearest_neighbors")
    assert told(workplace, second) == ["Features of 3 of 3 images were at hand and not computed again."]
    digests = [{a.name: a.sha256 for a in workplace.artifacts(job_id)} for job_id in (first, second)]
    assert digests[0] == digests[1]
    larger = run(crew, workplace, four, "nearest_neighbors")
    assert told(workplace, larger) == ["Features of 3 of 4 images were at hand and not computed again."]
    otherwise = run(crew, workplace, three, "nearest_neighbors", working_size=96)
    assert told(workplace, otherwise) == []


def test_the_cache_lies_in_the_data_folder(crew: Crew, workplace: Workplace) -> None:
    run(crew, workplace, workplace.upload(noise_pictures(2)), "nearest_neighbors", working_size=128)
    assert list(workplace.settings.feature_cache_dir.glob("*/*.safetensors"))
