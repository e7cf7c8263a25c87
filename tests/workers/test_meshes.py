"""Meshes that parameters name reach the method as files, through the store and the runner's process."""

import hashlib
import json
from pathlib import Path

import pytest

from alignment.glb import read_glb, write_glb
from alignment.mesh import Mesh
from api_schemas.jobs import JobState
from storage.blobs.keys import mesh_key
from storage.database.records import MeshRecord, NewMesh
from storage.database.repositories.meshes import MeshRepository
from tests.alignment.shapes import ball_mesh
from tests.workers.conftest import Crew
from tests.workers.workplace import Workplace
from workers.checkpoint_store import CheckpointStore
from workers.ledger import Ledger
from workers.preparation import MeshMissingError, prepare_run, run_digest
from workers.protocol import RunCommand, decode_command, encode

STRANGER = "msh_01k8zd6c2q4x7v9m3n5p8r0s1t"


def store(place: Workplace, mesh: Mesh) -> MeshRecord:
    """Store a mesh as the service does."""
    content = write_glb(mesh)
    digest = hashlib.sha256(content).hexdigest()
    place.blobs.put(mesh_key(digest), content)
    new = NewMesh(
        name="ball",
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        uploaded_faces=len(mesh.faces),
        colours="texture",
        is_watertight=True,
        bounds=mesh.bounds.tolist(),
        warnings=[],
        bytes=len(content),
        sha256=digest,
        fingerprint=digest,
        blob_key=mesh_key(digest),
    )
    with place.database.transaction() as session:
        return MeshRepository(session).add(new)


def command_of(place: Workplace, job_id: str, folder: Path) -> RunCommand:
    """Prepare a job as its worker does, and send the command over the line."""
    job = place.job(job_id)
    ledger = Ledger(place.database, job, lease_s=60)
    command = prepare_run(
        job,
        ledger.inputs(),
        blobs=place.blobs,
        checkpoints=CheckpointStore(job, blobs=place.blobs, ledger=ledger),
        folder=folder,
        checkpoint_interval_s=60,
        between=lambda: None,
    )
    received = decode_command(encode(command))
    assert isinstance(received, RunCommand)
    return received


def test_a_method_reads_the_mesh_that_its_parameters_name(crew: Crew, workplace: Workplace, pictures: str) -> None:
    mesh = store(workplace, ball_mesh(rows=6, columns=8))
    job_id = workplace.submit(pictures, steps=2, mesh=mesh.id, meshes={"mesh": mesh.id})
    crew.work()
    assert workplace.job(job_id).state is JobState.SUCCEEDED, workplace.job(job_id).error
    rows = json.loads(workplace.content(job_id, "transforms.json"))["images"]
    assert [row["mesh"] for row in rows] == [7 * 9] * 2


def test_the_runner_is_given_the_file_as_it_is_stored(workplace: Workplace, pictures: str, tmp_path: Path) -> None:
    mesh = store(workplace, ball_mesh(rows=4, columns=8))
    job_id = workplace.submit(pictures, mesh=mesh.id, meshes={"shape.mesh": mesh.id})
    workplace.cancel(job_id)
    command = command_of(workplace, job_id, tmp_path)
    assert list(command.meshes) == ["shape.mesh"]
    content = command.meshes["shape.mesh"].read_bytes()
    assert hashlib.sha256(content).hexdigest() == mesh.sha256
    assert len(read_glb(content).faces) == mesh.faces


def test_without_meshes_the_runner_is_given_none(workplace: Workplace, pictures: str, tmp_path: Path) -> None:
    job_id = workplace.submit(pictures)
    workplace.cancel(job_id)
    assert command_of(workplace, job_id, tmp_path).meshes == {}


def test_the_digest_of_a_run_tells_meshes_by_their_content(workplace: Workplace, pictures: str) -> None:
    first, second = (store(workplace, ball_mesh(rows=rows, columns=8)) for rows in (3, 5))
    digests = set()
    for meshes in (None, {"mesh": first.id}, {"mesh": second.id}, {"other": first.id}):
        job = workplace.job(workplace.submit(pictures, meshes=meshes))
        workplace.cancel(job.id)
        digests.add(run_digest(job, Ledger(workplace.database, job, lease_s=60).inputs()))
    assert len(digests) == 4


def test_a_mesh_that_is_gone_ends_the_job(crew: Crew, workplace: Workplace, pictures: str, tmp_path: Path) -> None:
    job_id = workplace.submit(pictures, meshes={"mesh": STRANGER})
    with pytest.raises(MeshMissingError, match="parameter 'mesh'"):
        command_of(workplace, job_id, tmp_path)
    mesh = store(workplace, ball_mesh(rows=2, columns=8))
    workplace.blobs.delete(mesh.blob_key)
    lost = workplace.submit(pictures, meshes={"mesh": mesh.id})
    crew.work()
    for ended in (job_id, lost):
        job = workplace.job(ended)
        assert job.state is JobState.FAILED
        assert job.error is not None
        assert job.error["code"] == "mesh-missing"
        assert "Upload the mesh again" in str(job.error["detail"])
