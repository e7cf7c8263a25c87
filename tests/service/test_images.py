"""Upload pictures, be refused, and look at them."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from service.dependencies import Services
from tests.service.pictures import encoded, noise, plain, png
from tests.service.requests import pointers, problem, upload, uploaded_ids


def stored_files(services: Services) -> list[Path]:
    """Everything that lies in the data folder beside the database."""
    folders = (services.settings.blobs_dir / "images", services.settings.uploads_dir)
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def test_an_upload_answers_with_the_images_in_order(client: TestClient) -> None:
    answer = upload(client, [("a.png", png(1, (30, 20))), ("b.jpg", encoded(noise(2), "JPEG"))])
    assert answer.status_code == 201
    first, second = answer.json()["items"]
    assert (first["name"], first["width"], first["height"], first["media_type"]) == ("a.png", 30, 20, "image/png")
    assert (second["name"], second["media_type"]) == ("b.jpg", "image/jpeg")
    assert client.get(first["links"]["self"]).json() == first
    content = client.get(first["links"]["content"])
    assert len(content.content) == first["bytes"]
    assert Image.open(io.BytesIO(content.content)).size == (30, 20)


def test_the_same_upload_is_the_same_image(client: TestClient, services: Services) -> None:
    first = upload(client, [("a.png", png(1))])
    again = upload(client, [("other.png", png(1))])
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    mixed = upload(client, [("a.png", png(1)), ("c.png", png(3)), ("d.png", png(3))])
    assert mixed.status_code == 201
    ids = [item["id"] for item in mixed.json()["items"]]
    assert ids[0] == first.json()["items"][0]["id"]
    assert ids[1] == ids[2] != ids[0]
    assert len(stored_files(services)) == 2


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("../../etc/passwd.png", "passwd.png"),
        ("C:\\pictures\\cat.png", "cat.png"),
        ("bär \u732b.png", "bär 猫.png"),
        ("x" * 400, "x" * 255),
        ("..", ".."),
        ("/", "image"),
    ],
)
def test_file_names_are_labels_only(client: TestClient, given: str, kept: str) -> None:
    item = upload(client, [(given, png(1))]).json()["items"][0]
    assert item["name"] == kept
    assert client.get(item["links"]["content"]).status_code == 200


def test_parallel_uploads_of_the_same_file_are_one_image(client: TestClient, services: Services) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: upload(client, [("a.png", png(1))]), range(16)))
    assert {answer.status_code for answer in answers} <= {200, 201}
    assert len({answer.json()["items"][0]["id"] for answer in answers}) == 1
    assert len(stored_files(services)) == 1


def test_one_bad_file_refuses_the_request_and_nothing_is_stored(client: TestClient, services: Services) -> None:
    files = [("good.png", png(1)), ("also.png", png(2)), ("bad.txt", b"hello"), ("cut.png", png(3)[:400])]
    body = problem(upload(client, files), "not-an-image", 422)
    assert pointers(body) == ["/images/2", "/images/3"]
    assert [error["code"] for error in body["errors"]] == ["not-an-image", "truncated"]
    assert "'bad.txt'" in body["detail"]
    assert "JPEG, PNG, WEBP" in body["detail"]
    assert "no image of this request was stored" in body["detail"]
    assert stored_files(services) == []
    assert upload(client, [("good.png", png(1))]).status_code == 201


def test_a_truncated_image_is_refused(client: TestClient) -> None:
    body = problem(upload(client, [("cut.jpg", encoded(noise(1), "JPEG")[:900])]), "image-truncated", 422)
    assert pointers(body) == ["/images/0"]
    assert "'cut.jpg'" in body["detail"]
    assert "upload it again" in body["detail"]


def test_an_upload_without_files_is_refused(client: TestClient) -> None:
    boundary = {"Content-Type": "multipart/form-data; boundary=x"}
    body = problem(client.post("/v1/images", content=b"--x--\r\n", headers=boundary), "too-few-images", 422)
    assert "'images'" in body["detail"]


def test_too_many_files_are_refused(client: TestClient, services: Services) -> None:
    assert len(uploaded_ids(client, 4)) == 4
    before = stored_files(services)
    body = problem(upload(client, [(f"{seed}.png", png(seed)) for seed in range(10, 15)]), "too-many-images", 413)
    assert "4 images" in body["detail"]
    assert "further requests" in body["detail"]
    assert pointers(body) == ["/images/4"]
    assert stored_files(services) == before


def test_too_many_bytes_are_refused(client: TestClient, services: Services) -> None:
    limit = services.settings.max_image_bytes
    padded = png(1) + b"\0" * (limit - len(png(1)))
    assert upload(client, [("exact.png", padded)]).status_code == 201
    body = problem(upload(client, [("a.png", png(2)), ("big.png", padded + b"\0")]), "image-too-large", 413)
    assert pointers(body) == ["/images/1"]
    assert body["errors"][0]["code"] == "too-many-bytes"
    assert "'big.png'" in body["detail"]
    assert f"{limit} bytes" in body["detail"]
    assert "scale it down" in body["detail"]
    assert len(stored_files(services)) == 1


def test_too_many_pixels_are_refused(client: TestClient) -> None:
    body = problem(upload(client, [("wide.png", encoded(plain("red", (201, 200))))]), "image-too-large", 413)
    assert body["errors"][0]["code"] == "too-many-pixels"
    assert "201 x 200 = 40200 pixels, the limit is 40000" in body["detail"]


@pytest.mark.parametrize(
    ("content_type", "status", "code"),
    [
        ("application/json", 415, "unsupported-media-type"),
        ("image/png", 415, "unsupported-media-type"),
        (None, 415, "unsupported-media-type"),
        ("multipart/form-data", 400, "malformed-body"),
        ("multipart/form-data; boundary=" + "x" * 300, 400, "malformed-body"),
        ("multipart/form-data; boundary=x", 400, "malformed-body"),
    ],
)
def test_other_bodies_are_refused(client: TestClient, content_type: str | None, status: int, code: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    body = problem(client.post("/v1/images", content=png(1), headers=headers), code, status)
    if status == 415:
        assert "multipart/form-data" in body["detail"]


def multipart_body(*parts: str, end: str = "--x--\r\n") -> bytes:
    return ("".join(f"--x\r\nContent-Disposition: form-data; {part}\r\n\r\nhello\r\n" for part in parts) + end).encode()


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (multipart_body('name="images"; filename="a.png"', end=""), "closing boundary"),
        (multipart_body('name="photos"; filename="a.png"'), "no such part; known are: images"),
        (multipart_body('name="images"'), "send it as a file"),
        (b"garbage", "malformed"),
    ],
    ids=["cut off", "unknown part", "no file name", "garbage"],
)
def test_malformed_forms_are_refused(client: TestClient, body: bytes, complaint: str) -> None:
    answer = client.post("/v1/images", content=body, headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert complaint in problem(answer, "malformed-body", 400)["detail"]


def test_unknown_images_are_not_found(client: TestClient) -> None:
    for image_id in ("img_01k8zd6c2q4x7v9m3n5p8r0s1t", "x", "%00", "set_01k8zd6c2q4x7v9m3n5p8r0s1t"):
        for part in ("", "/content", "/thumbnail"):
            body = problem(client.get(f"/v1/images/{image_id}{part}"), "not-found", 404)
            assert "POST /v1/images" in body["detail"]


def test_thumbnails_are_small_webp_and_cacheable(client: TestClient) -> None:
    [image_id] = uploaded_ids(client, 1)
    address = f"/v1/images/{image_id}/thumbnail"
    answer = client.get(address, params={"size": 32})
    assert answer.headers["content-type"] == "image/webp"
    assert Image.open(io.BytesIO(answer.content)).size == (32, 24)
    assert "immutable" in answer.headers["cache-control"]
    etag = answer.headers["etag"]
    assert client.get(address, params={"size": 32}, headers={"If-None-Match": etag}).status_code == 304
    assert client.get(address, params={"size": 33}, headers={"If-None-Match": etag}).status_code == 200


@pytest.mark.parametrize("size", ["15", "1025", "large"])
def test_thumbnail_sizes_are_bounded(client: TestClient, size: str) -> None:
    [image_id] = uploaded_ids(client, 1)
    answer = client.get(f"/v1/images/{image_id}/thumbnail", params={"size": size})
    assert pointers(problem(answer, "validation-error", 422)) == ["size"]
