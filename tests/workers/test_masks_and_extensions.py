"""Masks and finished results reach the method, through the store and the runner's process."""

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load

from api_schemas.jobs import JobState
from storage.blobs.keys import artifact_key
from storage.database.records import ImageRecord, JobRecord
from storage.database.repositories.jobs import JobRepository
from tests.workers.conftest import Crew, scratch_files
from tests.workers.workplace import Workplace, noise_pictures
from workers.ledger import JobInputs
from workers.preparation import run_digest

FEATURES = "atlas_features.safetensors"


def half_white(shape: tuple[int, ...], *, rows: int) -> npt.NDArray[np.uint8]:
    """A mask (H, W, 3) whose first rows are white."""
    mask = np.zeros(shape, dtype=np.uint8)
    mask[:rows] = 255
    return mask


def masks_for(place: Workplace, image_set_id: str, *, rows: int) -> dict[str, str]:
    """Store one mask for all images of a set of noise pictures."""
    (mask_id,) = place.image_ids(place.upload([half_white((32, 36, 3), rows=rows)]))
    return dict.fromkeys(place.image_ids(image_set_id), mask_id)


def run(crew: Crew, place: Workplace, image_set_id: str, **options: object) -> JobRecord:
    """Run a job to its success."""
    job_id = place.submit(image_set_id, steps=5, **options)  # type: ignore[arg-type]
    crew.work()
    job = place.job(job_id)
    assert job.state is JobState.SUCCEEDED, job.error
    return job


def rows_of(place: Workplace, job: JobRecord) -> list[dict[str, object]]:
    """The scores that the method gave."""
    rows: list[dict[str, object]] = json.loads(place.content(job.id, "transforms.json"))["images"]
    return rows


def joined(place: Workplace, base_set: str, new_set: str) -> str:
    """Return a set of the images of two."""
    return place.make_set([*place.image_ids(base_set), *place.image_ids(new_set)])


def test_masks_reach_the_method(crew: Crew, workplace: Workplace, pictures: str) -> None:
    masked = run(crew, workplace, pictures, masks=masks_for(workplace, pictures, rows=8))
    assert [row["pixels"] for row in rows_of(workplace, masked)] == [8 * 36] * 2
    plain = run(crew, workplace, pictures)
    assert [row["pixels"] for row in rows_of(workplace, plain)] == [32 * 36] * 2
    contents = [workplace.content(job.id, FEATURES) for job in (masked, plain)]
    assert contents[0] != contents[1]
    assert scratch_files(workplace) == []


def test_images_are_added_to_a_result(crew: Crew, workplace: Workplace, pictures: str) -> None:
    base = run(crew, workplace, pictures)
    new = workplace.upload(noise_pictures(1, seed=9))
    masks = masks_for(workplace, new, rows=4)
    job = run(crew, workplace, joined(workplace, pictures, new), extends=base.id, masks=masks)
    manifest = workplace.manifest(job.id)
    assert [image.index for image in manifest.images] == [0, 1, 2]
    for name in ("maps/to_canonical/000.safetensors", "maps/from_canonical/001.safetensors", FEATURES):
        assert workplace.content(job.id, name) == workplace.content(base.id, name)
    kept, added = rows_of(workplace, base), rows_of(workplace, job)
    assert added[:2] == kept
    assert (added[2]["pixels"], added[2]["masked"]) == (4 * 36, True)
    first, last = (load(workplace.content(job.id, f"maps/to_canonical/00{i}.safetensors"))["map"] for i in (0, 2))
    assert not np.allclose(first, last)
    assert scratch_files(workplace) == []


def test_an_extension_can_be_extended(crew: Crew, workplace: Workplace, pictures: str) -> None:
    base = run(crew, workplace, pictures)
    three = joined(workplace, pictures, workplace.upload(noise_pictures(1, seed=9)))
    middle = run(crew, workplace, three, extends=base.id)
    four = joined(workplace, three, workplace.upload(noise_pictures(1, seed=10)))
    last = run(crew, workplace, four, extends=middle.id)
    assert rows_of(workplace, last)[:3] == rows_of(workplace, middle)


def test_a_base_whose_files_are_gone(crew: Crew, workplace: Workplace, pictures: str) -> None:
    base = run(crew, workplace, pictures)
    workplace.blobs.delete(artifact_key(base.id, base.fence, FEATURES))
    three = joined(workplace, pictures, workplace.upload(noise_pictures(1, seed=9)))
    job_id = workplace.submit(three, extends=base.id)
    crew.work()
    error = workplace.job(job_id).error
    assert error is not None
    assert error["code"] == "base-missing"
    assert FEATURES in str(error["detail"])
    assert base.id in str(error["detail"])


def test_a_method_that_cannot_extend_says_so(crew: Crew, workplace: Workplace, pictures: str) -> None:
    base = run(crew, workplace, pictures)
    three = joined(workplace, pictures, workplace.upload(noise_pictures(1, seed=9)))
    job_id = workplace.submit(three, "nearest_neighbors", extends=base.id, working_size=64)
    crew.work()
    error = workplace.job(job_id).error
    assert error is not None
    assert "'nearest_neighbors' cannot extend a result" in str(error["detail"])


@pytest.mark.parametrize("what", ["mask", "other mask", "base"])
def test_the_digest_of_a_run_tells_masks_and_base(workplace: Workplace, pictures: str, what: str) -> None:
    job = workplace.job(workplace.submit(pictures))
    workplace.cancel(job.id)
    inputs = JobInputs(images=images_of(workplace, job))
    first, second = inputs.images
    masked = replace(inputs, masks={first.id: second})
    others = {
        "mask": (job, inputs),
        "other mask": (job, replace(inputs, masks={first.id: first})),
        "base": (replace(job, extends=job.id), masked),
    }
    assert run_digest(job, masked) == run_digest(job, masked)
    assert run_digest(*others[what]) != run_digest(job, masked)


def images_of(place: Workplace, job: JobRecord) -> list[ImageRecord]:
    """Return the job's images."""
    with place.database.transaction(read_only=True) as session:
        return JobRepository(session).images(job.id)
