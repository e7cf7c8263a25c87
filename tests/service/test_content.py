"""Ranges, validators and safety headers of stored bytes, behind a real socket."""

import httpx
import pytest

from tests.service.conftest import Live
from tests.service.pictures import png
from tests.service.requests import problem, upload


@pytest.fixture
def http(live: Live) -> httpx.Client:
    return live.client


@pytest.fixture
def image(http: httpx.Client) -> dict[str, str]:
    item: dict[str, str] = upload(http, [("bär.png", png(1))]).json()["items"][0]
    return item


def address(image: dict[str, str]) -> str:
    return f"/v1/images/{image['id']}/content"


def test_whole_content_is_immutable_and_safe(http: httpx.Client, image: dict[str, str]) -> None:
    answer = http.get(address(image))
    assert answer.status_code == 200
    assert answer.headers["etag"] == f'"sha256-{image["sha256"]}"'
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"] == "inline; filename*=utf-8''b%C3%A4r.png"
    download = http.get(address(image), params={"download": 1})
    assert download.headers["content-disposition"].startswith("attachment;")


def test_head_has_the_headers_and_no_body(http: httpx.Client, image: dict[str, str]) -> None:
    whole, head = http.get(address(image)), http.head(address(image))
    assert head.status_code == 200
    assert head.content == b""
    for name in ("content-length", "etag", "content-type"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-3", slice(0, 4)),
        ("bytes=10-", slice(10, None)),
        ("bytes=-5", slice(-5, None)),
        ("BYTES=1-1", slice(1, 2)),
    ],
)
def test_ranges(http: httpx.Client, image: dict[str, str], asked: str, part: slice) -> None:
    whole = http.get(address(image)).content
    answer = http.get(address(image), headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == whole[part]
    start, stop, _ = part.indices(len(whole))
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole)}"


def test_several_ranges(http: httpx.Client, image: dict[str, str]) -> None:
    whole = http.get(address(image)).content
    answer = http.get(address(image), headers={"Range": "bytes=0-1,5-6"})
    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges")
    assert whole[0:2] in answer.content
    assert whole[5:7] in answer.content


@pytest.mark.parametrize("asked", ["bytes=999999-", "bytes=-0", "bytes=5-2", "bytes=a-b"])
def test_ranges_that_cannot_be_served(http: httpx.Client, image: dict[str, str], asked: str) -> None:
    answer = http.get(address(image), headers={"Range": asked})
    body = problem(answer, "range-not-satisfiable", 416)
    assert asked in body["detail"]
    assert http.get(address(image)).status_code == 200


def test_the_refusal_of_a_range_tells_the_size(http: httpx.Client, image: dict[str, str]) -> None:
    size = len(http.get(address(image)).content)
    answer = http.get(address(image), headers={"Range": f"bytes={size}-"})
    assert answer.headers["content-range"] == f"bytes */{size}"
    assert f"{size} bytes" in answer.json()["detail"]


def test_ranges_in_other_units_are_ignored(http: httpx.Client, image: dict[str, str]) -> None:
    assert http.get(address(image), headers={"Range": "pages=1-2"}).status_code == 200


def test_conditions(http: httpx.Client, image: dict[str, str]) -> None:
    etag = http.get(address(image)).headers["etag"]
    for condition in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        answer = http.get(address(image), headers={"If-None-Match": condition})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
        assert "immutable" in answer.headers["cache-control"]
    assert http.get(address(image), headers={"If-None-Match": '"other"'}).status_code == 200
    ranged = {"Range": "bytes=0-3", "If-None-Match": etag}
    assert http.get(address(image), headers=ranged).status_code == 304


def test_if_range(http: httpx.Client, image: dict[str, str]) -> None:
    etag = http.get(address(image)).headers["etag"]
    same = http.get(address(image), headers={"Range": "bytes=0-3", "If-Range": etag})
    other = http.get(address(image), headers={"Range": "bytes=0-3", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)
