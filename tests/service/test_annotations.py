"""Annotations with a submission: how they are kept and given back, what is refused and how."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from service.dependencies import Services
from storage.database.repositories.jobs import JobRepository
from tests.service.pictures import png
from tests.service.requests import pointers, problem, spec, submit, upload, uploaded_ids

GEO_AWARE, ADAPTER = "geo_aware", "geo_aware_adapter"
STRANGER = "job_01k8zd6c2q4x7v9m3n5p8r0s1t"
PATHS = ("/v1/jobs", "/v1/jobs:validate")
NAMES = ["left eye", "right eye", "nose"]
SEEN = [[28, 10, 1], [20, 12, 2], [25.5, 20, 1]]


def annotated(images: dict[str, Any], **schema: Any) -> dict[str, Any]:
    """Annotations with one category; what its names leave open may be given along."""
    return {"categories": {"face": {"names": NAMES, **schema}}, "images": images}


def faces(*keys: str) -> dict[str, Any]:
    """Of each image all keypoints of a face."""
    return annotated({key: {"keypoints": SEEN} for key in keys})


def coco(*file_names: str) -> dict[str, Any]:
    """A COCO document with one face in every image."""
    keypoints = [number for keypoint in SEEN for number in keypoint]
    return {
        "images": [{"id": index, "file_name": name} for index, name in enumerate(file_names)],
        "annotations": [
            {"id": index, "image_id": index, "category_id": 1, "keypoints": keypoints, "bbox": [10, 5, 40, 30]}
            for index in range(len(file_names))
        ],
        "categories": [{"id": 1, "name": "face", "keypoints": NAMES}],
    }


def refused(client: TestClient, code: str, status: int = 422, **submission: Any) -> dict[str, Any]:
    """Check that a submission is refused alike with and without validation alone; return the problem."""
    before = client.get("/v1/jobs").json()
    bodies = [problem(client.post(path, json=submission), code, status) for path in PATHS]
    assert bodies[0]["errors"] == bodies[1]["errors"]
    assert client.get("/v1/jobs").json() == before
    return bodies[0]


def refused_annotations(
    client: TestClient,
    given: dict[str, Any] | None,
    code: str = "annotations-mismatch",
    method: str = GEO_AWARE,
    **params: Any,
) -> dict[str, Any]:
    """Check that annotations of `0.png` and `1.png` are refused; return the problem."""
    body = spec(uploaded_ids(client, 2), method=method, params=params, annotations=given)
    return refused(client, code, **body)


def kept(client: TestClient, job: dict[str, Any]) -> dict[str, Any]:
    """What a job was told of its images."""
    answer = client.get(job["links"]["annotations"])
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def post_form(client: TestClient, names: list[str], **options: Any) -> Any:
    """Submit in one request."""
    parts: list[tuple[str, Any]] = [("spec", (None, json.dumps({"method": GEO_AWARE, **options}), "application/json"))]
    parts += [("images", (name, png(index))) for index, name in enumerate(names)]
    return client.post("/v1/jobs", files=parts)


def test_annotations_are_kept_by_the_ids_of_the_images(client: TestClient, services: Services) -> None:
    image_ids = uploaded_ids(client, 3)
    given = annotated(
        {
            "1.png": {"keypoints": SEEN[:1], "box": [0, -1, 65, 48], "azimuth": 7, "pose": "left", "split": "test"},
            image_ids[0]: {"keypoints": SEEN},
        }
    )
    job = submit(client, image_ids, method=GEO_AWARE, annotations=given)
    found = kept(client, job)
    assert set(found["images"]) == set(image_ids[:2])
    assert found["images"][image_ids[1]] == {
        "category": "face",
        "keypoints": [[28, 10, 1], [0, 0, 0], [0, 0, 0]],
        "box": [0, -1, 65, 48],
        "azimuth": 7,
        "pose": "left",
        "split": "test",
    }
    assert found["images"][image_ids[0]]["keypoints"] == SEEN
    with services.database.transaction(read_only=True) as session:
        assert JobRepository(session).annotations(job["id"]) == found


def test_mirror_pairs_and_groups_are_told_from_the_names_before_anything_is_made(client: TestClient) -> None:
    body = spec(uploaded_ids(client, 2), method=GEO_AWARE, annotations=faces("0.png", "1.png"))
    told = client.post("/v1/jobs:validate", json=body).json()["annotations"]
    (face,) = told["categories"].values()
    assert (face["names"], face["mirror_pairs"], face["groups"]) == (NAMES, [[0, 1]], [[0, 1]])
    assert client.get("/v1/jobs").json()["items"] == []
    assert kept(client, client.post("/v1/jobs", json=body).json()) == told


def test_what_is_said_outright_is_not_told_from_the_names(client: TestClient) -> None:
    body = spec(uploaded_ids(client, 2), method=GEO_AWARE)
    plain = annotated({"0.png": {"keypoints": SEEN}}, mirror_pairs=[], groups=[[1, 2]])
    turned = annotated({"0.png": {"keypoints": SEEN}}, flip_permutation=[2, 1, 0])
    told = [
        client.post("/v1/jobs:validate", json={**body, "annotations": given}).json()["annotations"]["categories"]
        for given in (plain, turned)
    ]
    assert (told[0]["face"]["mirror_pairs"], told[0]["face"]["groups"]) == ([], [[1, 2]])
    assert told[1]["face"]["mirror_pairs"] == [[0, 2]]


def test_without_annotations_there_are_none(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    body = spec(image_ids, method=GEO_AWARE)
    assert client.post("/v1/jobs:validate", json=body).json()["annotations"] is None
    job = client.post("/v1/jobs", json=body).json()
    assert job["id"] in problem(client.get(job["links"]["annotations"]), "not-found", 404)["detail"]
    assert STRANGER in problem(client.get(f"/v1/jobs/{STRANGER}/annotations"), "not-found", 404)["detail"]


def test_images_of_a_set_are_known_by_their_names(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    image_set = client.post("/v1/image-sets", json={"image_ids": image_ids}).json()
    body = {"method": GEO_AWARE, "image_set_id": image_set["id"], "annotations": faces("1.png")}
    assert list(kept(client, client.post("/v1/jobs", json=body).json())["images"]) == [image_ids[1]]


def test_annotations_may_come_along_with_their_images(client: TestClient) -> None:
    answer = post_form(client, ["a.png", "b.png"], annotations=faces("b.png"))
    assert answer.status_code == 202, answer.text
    images = {image["name"]: image["id"] for image in answer.json()["inputs"]["images"]}
    assert list(kept(client, answer.json())["images"]) == [images["b.png"]]
    wrong = post_form(client, ["a.png", "b.png"], annotations=faces("c.png"))
    assert pointers(problem(wrong, "annotations-mismatch", 422)) == ["/annotations/images/c.png"]
    unread = post_form(client, ["a.png", "b.png"], annotations=annotated({"a.png": {"azimuth": 8}}))
    assert pointers(problem(unread, "validation-error", 422)) == ["/spec/annotations/images/a.png/azimuth"]


def test_files_of_a_form_go_by_the_names_they_have_there(client: TestClient) -> None:
    """Although a picture that was known before keeps its first name."""
    upload(client, [("first name.png", png(0))])
    job = post_form(client, ["a.png", "b.png"], annotations=faces("a.png", "b.png")).json()
    assert [image["name"] for image in job["inputs"]["images"]] == ["first name.png", "b.png"]
    assert list(kept(client, job)["images"]) == [image["id"] for image in job["inputs"]["images"]]
    body = problem(post_form(client, ["a.png", "b.png"], annotations=faces("c.png")), "annotations-mismatch", 422)
    assert pointers(body) == ["/annotations/images/c.png"]


def test_a_coco_document_is_understood(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    job = submit(client, image_ids, method=GEO_AWARE, annotations=coco("photos/0.png", "1.png"))
    found = kept(client, job)
    assert set(found["images"]) == set(image_ids)
    assert found["images"][image_ids[0]]["keypoints"] == SEEN
    assert found["images"][image_ids[0]]["box"] == [10, 5, 50, 35]
    assert found["categories"]["face"]["mirror_pairs"] == [[0, 1]]
    shot = post_form(client, ["0.png", "1.png"], annotations=coco("0.png", "1.png"))
    assert len(kept(client, shot.json())["images"]) == 2


def test_a_fault_in_a_coco_document_is_named_by_its_place(client: TestClient) -> None:
    document = coco("0.png", "1.png")
    document["annotations"][1]["keypoints"] = [1, 2]
    body = refused_annotations(client, document, "validation-error")
    assert pointers(body) == ["/annotations"]
    assert "annotations/1/keypoints has 2 numbers" in body["detail"]
    stranger = refused_annotations(client, coco("0.png", "z.png"))
    assert pointers(stranger) == ["/annotations/images/z.png"]


def test_tables_are_known_by_name(client: TestClient) -> None:
    given = {
        "categories": {"animal": "ap10k", "car": "spair71k/car"},
        "images": {"0.png": {"category": "animal", "keypoints": SEEN}, "1.png": {"category": "car"}},
    }
    image_ids = uploaded_ids(client, 2)
    found = kept(client, submit(client, image_ids, method=GEO_AWARE, annotations=given))
    animal, car = found["categories"]["animal"], found["categories"]["car"]
    assert (animal["names"][:2], animal["mirror_pairs"][0]) == (["left eye", "right eye"], [0, 1])
    assert [len(found["images"][image_id]["keypoints"]) for image_id in image_ids] == [17, len(car["names"])]


def test_the_same_key_with_other_annotations_is_another_request(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    answers = [
        client.post(
            "/v1/jobs",
            json=spec(image_ids, method=GEO_AWARE, annotations=given),
            headers={"Idempotency-Key": "k"},
        )
        for given in (faces("0.png"), faces("0.png"), faces("1.png"))
    ]
    assert [answer.status_code for answer in answers] == [202, 202, 422]
    assert answers[0].json() == answers[1].json()


def test_entries_that_name_no_image(client: TestClient) -> None:
    body = refused_annotations(client, faces("0.png", "cat~1.png"))
    assert pointers(body) == ["/annotations/images/cat~01.png"]
    assert body["errors"][0]["code"] == "unknown-image"
    assert "'cat~1.png'" in body["detail"]


def test_a_name_that_two_images_share(client: TestClient) -> None:
    items = upload(client, [("cat.png", png(1)), ("cat.png", png(2)), ("dog.png", png(3))]).json()["items"]
    image_ids = [item["id"] for item in items]
    body = refused(
        client, "annotations-mismatch", **spec(image_ids, method=GEO_AWARE, annotations=faces("cat.png", "dog.png"))
    )
    assert pointers(body) == ["/annotations/images/cat.png"]
    assert body["errors"][0]["code"] == "ambiguous"
    assert all(image_id in body["detail"] for image_id in image_ids[:2])
    by_id = submit(client, image_ids, method=GEO_AWARE, annotations=faces(image_ids[1], "dog.png"))
    assert set(kept(client, by_id)["images"]) == set(image_ids[1:])


def test_an_image_that_is_annotated_twice(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    given = faces("0.png", image_ids[0], "1.png")
    body = refused(client, "annotations-mismatch", **spec(image_ids, method=GEO_AWARE, annotations=given))
    assert pointers(body) == ["/annotations/images/0.png"]
    assert image_ids[0] in body["detail"]


@pytest.mark.parametrize(
    ("image", "where", "says"),
    [
        ({"keypoints": [[10, 10, 1], [64.5, 10, 1]]}, "/keypoints/1", "keypoint 1 lies at (64.5, 10)"),
        ({"keypoints": [[10, -0.5, 2]]}, "/keypoints/0", "keypoint 0 lies at (10, -0.5)"),
        ({"keypoints": [[10, 48.5, 2]]}, "/keypoints/0", "keypoint 0 lies at (10, 48.5)"),
        ({"box": [0, 0, 66, 40]}, "/box", "66.0"),
        ({"box": [0, 0, 60, 50]}, "/box", "50.0"),
        ({"box": [-2, 0, 60, 40]}, "/box", "-2.0"),
    ],
)
def test_places_outside_their_image(client: TestClient, image: dict[str, Any], where: str, says: str) -> None:
    body = refused_annotations(client, annotated({"0.png": {"keypoints": SEEN}, "1.png": image}))
    assert pointers(body) == [f"/annotations/images/1.png{where}"]
    assert says in body["detail"]
    assert "the image is 64 x 48 pixels" in body["detail"]


def test_places_on_the_border_and_of_keypoints_that_are_not_seen_are_no_fault(client: TestClient) -> None:
    given = annotated({"0.png": {"keypoints": [[64, 48, 1], [0, 0, 1], [900, -5, 0]]}})
    body = spec(uploaded_ids(client, 2), method=GEO_AWARE, annotations=given)
    assert client.post("/v1/jobs:validate", json=body).status_code == 200


@pytest.mark.parametrize("box", [[10, 0, 5, 10], [10, 10, 20, 10]])
def test_a_box_has_an_area(client: TestClient, box: list[float]) -> None:
    body = refused_annotations(client, annotated({"1.png": {"box": box}}), "validation-error")
    assert pointers(body) == ["/annotations/images/1.png"]
    assert "no area" in body["detail"]


def test_more_keypoints_than_names(client: TestClient) -> None:
    body = refused_annotations(client, annotated({"1.png": {"keypoints": [*SEEN, [1, 1, 1]]}}))
    assert pointers(body) == ["/annotations"]
    assert "images/1.png/keypoints has 4 entries" in body["detail"]
    assert "'face' has 3 names" in body["detail"]


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"flip_permutation": [1, 2, 0]}, "no involution"),
        ({"flip_permutation": [1, 0]}, "2 entries for 3 names"),
        ({"groups": [[0, 1], [1, 2]]}, "keypoint 1 is in groups/0 and in groups/1"),
        ({"mirror_pairs": [[0, 1], [1, 2]]}, "keypoint 1 is in mirror_pairs/0 and in mirror_pairs/1"),
        ({"mirror_pairs": [[0, 3]]}, "mirror_pairs/0 names keypoint 3"),
    ],
)
def test_keypoints_that_do_not_fit_each_other(client: TestClient, schema: dict[str, Any], says: str) -> None:
    body = refused_annotations(client, annotated({"0.png": {"keypoints": SEEN}}, **schema), "validation-error")
    assert pointers(body)[0].startswith("/annotations/categories/face")
    assert len(body["errors"]) == 1
    assert says in body["detail"]


def test_tables_and_categories_that_there_are_not(client: TestClient) -> None:
    table = refused_annotations(client, {"categories": {"car": "spair71k/kar"}, "images": {"0.png": {}}})
    assert pointers(table) == ["/annotations"]
    assert "categories/car" in table["detail"]
    assert "did you mean 'spair71k/car'" in table["detail"]
    category = refused_annotations(client, annotated({"1.png": {"category": "dog"}}), "validation-error")
    assert pointers(category) == ["/annotations"]
    assert "images/1.png: category 'dog' is not in categories ('face')" in category["detail"]


@pytest.mark.parametrize("method", ["nearest_neighbors", "neural_congealing"])
def test_methods_that_take_no_annotations(client: TestClient, method: str) -> None:
    body = refused_annotations(client, faces("0.png"), method=method)
    assert pointers(body) == ["/annotations"]
    assert f"{method} takes no annotations" in body["detail"]


def test_methods_say_whether_they_take_annotations(client: TestClient) -> None:
    told = {item["id"]: item["annotations"] for item in client.get("/v1/methods").json()["items"]}
    assert (told["nearest_neighbors"], told[GEO_AWARE], told[ADAPTER]) == ("none", "optional", "required")


def test_an_adapter_is_not_trained_on_nothing(client: TestClient) -> None:
    body = refused_annotations(client, None, method=ADAPTER)
    assert pointers(body) == ["/annotations"]
    assert ADAPTER in body["detail"]
    problem(post_form(client, ["a.png", "b.png"], method=ADAPTER), "annotations-mismatch", 422)
    assert client.get("/v1/jobs").json()["items"] == []


SIDELESS = {
    "categories": {"bug": {"names": ["a", "b", "c"]}},
    "images": {"0.png": {"keypoints": SEEN}, "1.png": {"keypoints": SEEN}},
}
NO_FLIPS = {"double_flip": 0, "self_flip": 0, "single_flip": 0}


@pytest.mark.parametrize(
    ("method", "params", "milder"),
    [
        (GEO_AWARE, {"variants": ["id", "flip"]}, {"variants": ["id", "rot90"]}),
        (GEO_AWARE, {"variants": ["id", "rot90", "flip_rot90"]}, {}),
        (ADAPTER, {}, {"training": NO_FLIPS}),
        (ADAPTER, {"training": {**NO_FLIPS, "self_flip": 0.25}}, {"training": NO_FLIPS}),
    ],
)
def test_mirroring_needs_to_know_what_changes_sides(
    client: TestClient, method: str, params: dict[str, Any], milder: dict[str, Any]
) -> None:
    body = refused_annotations(client, SIDELESS, method=method, **params)
    assert pointers(body) == ["/annotations/categories/bug"]
    assert "'bug' have no mirror table" in body["detail"]
    assert "mirror_pairs" in body["detail"]
    image_ids = uploaded_ids(client, 2)
    said = {**SIDELESS, "categories": {"bug": {"names": ["a", "b", "c"], "mirror_pairs": []}}}
    for given, asked in ((said, params), (SIDELESS, milder)):
        answer = client.post(PATHS[1], json=spec(image_ids, method=method, params=asked, annotations=given))
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("images", "says"),
    [
        ({"0.png": {"keypoints": SEEN}}, "has one image to learn from"),
        ({"0.png": {"keypoints": SEEN}, "1.png": {"keypoints": SEEN, "split": "test"}}, "has one image to learn from"),
        ({"0.png": {"keypoints": SEEN[:1]}, "1.png": {"keypoints": [[0, 0, 0], *SEEN[1:]]}}, "a keypoint in common"),
    ],
)
def test_a_category_of_which_nothing_can_be_learned(client: TestClient, images: dict[str, Any], says: str) -> None:
    body = refused_annotations(client, annotated(images), method=ADAPTER)
    assert pointers(body) == ["/annotations/categories/face"]
    assert "'face'" in body["detail"]
    assert says in body["detail"]


def test_images_of_which_none_is_to_be_learned_from(client: TestClient) -> None:
    tested = {name: {"keypoints": SEEN, "split": "test"} for name in ("0.png", "1.png")}
    body = refused_annotations(client, annotated(tested), method=ADAPTER)
    assert pointers(body) == ["/annotations"]
    assert "'train'" in body["detail"]


def test_keypoints_to_hold_out_that_there_are_not(client: TestClient) -> None:
    body = refused_annotations(client, faces("0.png", "1.png"), method=ADAPTER, holdout_keypoints=["nose", "tail"])
    assert len(body["errors"]) == 1
    assert "holdout_keypoints" in body["detail"]
    assert "'tail'" in body["detail"]


def test_fields_that_there_are_not(client: TestClient) -> None:
    body = refused_annotations(client, annotated({"1.png": {"keypoint": SEEN}}), "validation-error")
    assert pointers(body) == ["/annotations/images/1.png/keypoint"]
