"""Whatever goes wrong, the answer is a problem document; the OpenAPI document says so too."""

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from service.problems import PROBLEM_KINDS
from storage.errors import StorageFullError, StorageUnavailableError
from tests.service.requests import problem


def test_unknown_addresses(client: TestClient) -> None:
    for path in ("/nothing", "/v1", "/v1/jobs/", "/v1/methods/x/y"):
        body = problem(client.get(path), "not-found", 404)
        assert path in body["detail"]


def test_wrong_verbs(client: TestClient) -> None:
    answer = client.delete("/v1/methods")
    body = problem(answer, "method-not-allowed", 405)
    assert answer.headers["allow"] == "GET"
    assert "DELETE" in body["detail"]
    assert "use GET" in body["detail"]


def test_malformed_json(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    body = problem(client.post("/v1/image-sets", content=b'{"image_ids": [', headers=headers), "malformed-body", 400)
    assert "not JSON" in body["detail"]
    for content in (b"\xff\xfe\xff", b"[" * 50_000):
        problem(client.post("/v1/image-sets", content=content, headers=headers), "malformed-body", 400)


def test_bodies_of_other_kinds(client: TestClient) -> None:
    for media_type in ("text/plain", "multipart/form-data; boundary=x"):
        answer = client.post("/v1/image-sets", content=b"hello", headers={"Content-Type": media_type})
        body = problem(answer, "unsupported-media-type", 415)
        assert "application/json" in body["detail"]
        assert media_type.split(";")[0] in body["detail"]
    problem(client.post("/v1/image-sets", content=b'{"a": 1}'), "unsupported-media-type", 415)
    missing = problem(client.post("/v1/image-sets"), "validation-error", 422)
    assert missing["errors"]


def test_bodies_above_the_limit(client: TestClient) -> None:
    headers = {"Content-Type": "application/json"}
    body = problem(client.post("/v1/image-sets", content=b" " * 100_001, headers=headers), "body-too-large", 413)
    assert "100000 bytes" in body["detail"]
    assert "100001" in body["detail"]


def test_request_ids_are_echoed_if_they_are_harmless(client: TestClient) -> None:
    answer = client.get("/nothing", headers={"X-Request-Id": "abc-1.2_3"})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "abc-1.2_3"
    for given in ("x" * 65, "a b", "<script>"):
        assert client.get("/livez", headers={"X-Request-Id": given}).headers["x-request-id"] != given


def test_every_answer_has_security_headers(client: TestClient) -> None:
    for path in ("/livez", "/nothing", "/v1/methods"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in headers["content-security-policy"]
    docs = client.get("/docs")
    assert docs.status_code == 200
    assert "content-security-policy" not in docs.headers


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (RuntimeError("secret"), "internal-error", 500),
        (StorageFullError("full"), "insufficient-storage", 507),
        (StorageUnavailableError("locked"), "not-ready", 503),
    ],
)
def test_errors_of_the_service_itself(
    app: FastAPI, capsys: pytest.CaptureFixture[str], error: Exception, code: str, status: int
) -> None:
    @app.get("/broken")
    def broken() -> None:
        raise error

    with TestClient(app) as client:
        answer = client.get("/broken", headers={"X-Request-Id": "find-me"})
        body = problem(answer, code, status)
    assert "secret" not in answer.text
    if status == 500:
        logged = capsys.readouterr().out
        assert "find-me" in logged
        assert "RuntimeError: secret" in logged
        assert "find-me" in body["detail"]
    if status == 503:
        assert int(answer.headers["retry-after"]) > 0


def test_kinds_of_problems_describe_themselves(client: TestClient) -> None:
    for code, kind in PROBLEM_KINDS.items():
        answer = client.get(kind.type)
        assert answer.json() == {"type": f"/problems/{code}", "title": kind.title, "status": kind.status}
    problem(client.get("/problems/nonsense"), "not-found", 404)


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, verb, operation) for path, verbs in document["paths"].items() for verb, operation in verbs.items()]


def test_openapi_documents_every_refusal_as_a_problem(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, verb, operation in operations(document):
        refusals = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert {"422", "500"} <= set(refusals), (verb, path)
        for answer in refusals.values():
            schema = answer["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/Problem"}
            assert list(answer["content"]) == ["application/problem+json"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_openapi_names_are_clean_and_references_hold(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names)) == 38
    assert {"create_job", "upload_images", "transfer_points", "get_manifest"} <= set(names)
    assert all(operation["tags"] and operation["description"] for _, _, operation in operations(document))
    references = set(find_references(document))
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert references <= known
    bodies = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    assert set(bodies) == {"application/json", "multipart/form-data"}


def find_references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for part in value.values() for found in find_references(part)]
    if isinstance(value, list):
        return [found for part in value for found in find_references(part)]
    return []
