"""Bind images into sets and list them."""

from fastapi.testclient import TestClient

from tests.service.requests import pointers, problem, uploaded_ids


def test_a_set_keeps_the_order_of_its_images(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 3)[::-1]
    answer = client.post("/v1/image-sets", json={"image_ids": image_ids, "name": "cats"})
    assert answer.status_code == 201
    created = answer.json()
    assert [image["id"] for image in created["images"]] == image_ids
    assert answer.headers["location"] == created["links"]["self"]
    assert client.get(created["links"]["self"]).json() == created


def test_unknown_images_are_named(client: TestClient) -> None:
    [image_id] = uploaded_ids(client, 1)
    unknown = "img_01k8zd6c2q4x7v9m3n5p8r0s1t"
    answer = client.post("/v1/image-sets", json={"image_ids": [image_id, unknown]})
    body = problem(answer, "image-not-found", 422)
    assert pointers(body) == ["/image_ids/1"]
    assert unknown in body["errors"][0]["detail"]
    assert "POST /v1/images" in body["detail"]


def test_bodies_that_do_not_fit_are_pointed_at(client: TestClient) -> None:
    [image_id] = uploaded_ids(client, 1)
    cases = [
        ({"image_ids": [image_id, "cat"]}, ["/image_ids/1"]),
        ({"image_ids": []}, ["/image_ids"]),
        ({}, ["/image_ids"]),
        ({"image_ids": [image_id], "colour": "red"}, ["/colour"]),
        ({"image_ids": [image_id], "name": "a\0b"}, ["/name"]),
        ({"image_ids": [image_id, image_id]}, ["/image_ids"]),
    ]
    for body, expected in cases:
        assert pointers(problem(client.post("/v1/image-sets", json=body), "validation-error", 422)) == expected


def test_sets_are_listed_newest_first_in_pages(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    made = [client.post("/v1/image-sets", json={"image_ids": image_ids}).json()["id"] for _ in range(5)]
    seen: list[str] = []
    address: str | None = "/v1/image-sets?limit=2"
    while address:
        answer = client.get(address)
        page = answer.json()
        seen += [item["id"] for item in page["items"]]
        assert page["has_more"] == (page["next_cursor"] is not None)
        address = answer.links.get("next", {}).get("url")
    assert seen == made[::-1]


def test_a_repeated_creation_makes_one_set(client: TestClient) -> None:
    body = {"image_ids": uploaded_ids(client, 2)}
    headers = {"Idempotency-Key": "set-1"}
    first = client.post("/v1/image-sets", json=body, headers=headers)
    again = client.post("/v1/image-sets", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotency-replayed"] == "true"
    assert len(client.get("/v1/image-sets").json()["items"]) == 1
    other = client.post("/v1/image-sets", json={**body, "name": "other"}, headers=headers)
    problem(other, "idempotency-key-reused", 422)


def test_unknown_sets_are_not_found(client: TestClient) -> None:
    for set_id in ("set_01k8zd6c2q4x7v9m3n5p8r0s1t", "x", "%00"):
        problem(client.get(f"/v1/image-sets/{set_id}"), "not-found", 404)
