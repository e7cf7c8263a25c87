"""Meshes that a job's parameters name: found at submission, however it comes, and kept with the job."""

import json
from typing import Any

from fastapi.testclient import TestClient

from service.dependencies import Services
from storage.database.repositories.jobs import JobRepository
from tests.service.meshes import TETRAHEDRON
from tests.service.pictures import png
from tests.service.requests import pointers, problem, spec, submit, uploaded_ids

STRANGER = "msh_01k8zd6c2q4x7v9m3n5p8r0s1t"


def mesh_id(client: TestClient) -> str:
    answer = client.post("/v1/meshes", files={"mesh": ("tetra.obj", TETRAHEDRON)})
    return str(answer.json()["id"])


def params(mesh: str) -> dict[str, Any]:
    return {"shape": {"mesh": mesh}}


def multipart(client: TestClient, method: str, mesh: str) -> Any:
    options = json.dumps({"method": method, "params": params(mesh)})
    images = [("images", (f"{index}.png", png(index))) for index in range(2)]
    return client.post("/v1/jobs", files=[("spec", (None, options, "application/json")), *images])


def test_a_job_names_a_mesh_and_keeps_it(client: TestClient, services: Services, plain_method: str) -> None:
    mesh, image_ids = mesh_id(client), uploaded_ids(client, 2)
    body = spec(image_ids, method=plain_method, params=params(mesh))
    assert client.post("/v1/jobs:validate", json=body).json()["params"]["shape"] == {"mesh": mesh}
    job = submit(client, image_ids, method=plain_method, params=params(mesh))
    assert job["params"]["shape"] == {"mesh": mesh}
    at_once = multipart(client, plain_method, mesh)
    assert at_once.status_code == 202
    for job_id in (job["id"], at_once.json()["id"]):
        with services.database.transaction(read_only=True) as session:
            record = JobRepository(session).get(job_id)
        assert record is not None
        assert record.meshes == {"shape.mesh": mesh}


def test_a_job_without_mesh_has_none(client: TestClient, services: Services, plain_method: str) -> None:
    job = submit(client, uploaded_ids(client, 2), method=plain_method)
    with services.database.transaction(read_only=True) as session:
        record = JobRepository(session).get(job["id"])
    assert record is not None
    assert record.meshes is None


def test_an_unknown_mesh_is_refused_however_the_submission_comes(
    client: TestClient, services: Services, plain_method: str
) -> None:
    image_ids = uploaded_ids(client, 2, first_seed=50)
    images_before = len(list((services.settings.blobs_dir / "images").rglob("*.*")))
    for mesh in (STRANGER, "img_01k8zd6c2q4x7v9m3n5p8r0s1t", "x\x00y", ""):
        body = spec(image_ids, method=plain_method, params=params(mesh))
        answers = [client.post(path, json=body) for path in ("/v1/jobs", "/v1/jobs:validate")]
        for answer in [*answers, multipart(client, plain_method, mesh)]:
            refusal = problem(answer, "mesh-not-found", 422)
            assert pointers(refusal) == ["/params/shape/mesh"]
            assert "POST /v1/meshes" in refusal["detail"]
    assert len(list((services.settings.blobs_dir / "images").rglob("*.*"))) == images_before
    assert client.get("/v1/jobs").json()["items"] == []
