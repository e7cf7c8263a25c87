"""Short ways to ask the API, and to check how it refuses."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from tests.service.pictures import png

File = tuple[str, bytes]
METHOD = "neural_congealing"


class Client(Protocol):
    """What the test client and a client of a real socket have in common."""

    @property
    def get(self) -> Callable[..., Any]:
        """Send a GET."""
        ...

    @property
    def post(self) -> Callable[..., Any]:
        """Send a POST."""
        ...


def upload(client: Client, files: Sequence[File]) -> Any:
    """Upload files by name and content."""
    return client.post("/v1/images", files=[("images", file) for file in files])


def uploaded_ids(client: Client, count: int, *, first_seed: int = 0) -> list[str]:
    """Upload `count` different pictures and return their ids."""
    answer = upload(client, [(f"{index}.png", png(first_seed + index)) for index in range(count)])
    assert answer.status_code in (200, 201), answer.text
    return [item["id"] for item in answer.json()["items"]]


def spec(image_ids: Sequence[str], **changed: Any) -> dict[str, Any]:
    """Return the body of a job's submission."""
    return {"method": METHOD, "image_ids": list(image_ids), **changed}


def submit(client: Client, image_ids: Sequence[str], **changed: Any) -> dict[str, Any]:
    """Submit a job and return it."""
    answer = client.post("/v1/jobs", json=spec(image_ids, **changed))
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def problem(answer: Any, code: str, status: int) -> dict[str, Any]:
    """Check that an answer is a whole problem document of this kind and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code
    assert body["type"] == f"/problems/{code}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    assert body["instance"] == answer.request.url.path
    assert body["request_id"] == answer.headers["x-request-id"]
    return body


def pointers(body: Mapping[str, Any]) -> list[str]:
    """Return where a problem's errors lie."""
    return [error["pointer"] for error in body["errors"]]
