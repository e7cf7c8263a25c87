"""Submit jobs: what is accepted, what is refused and how."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.methods.registry import method_specs
from service.dependencies import Services
from tests.service.pictures import png
from tests.service.requests import METHOD, pointers, problem, spec, submit, upload, uploaded_ids
from tests.service.test_methods import register_worker

SPEC = method_specs()[METHOD]
MISSING = "img_01k8zd6c2q4x7v9m3n5p8r0s1t"


def post_form(client: TestClient, options: Any, *files: bytes) -> Any:
    """Submit in one request."""
    parts: list[tuple[str, Any]] = [("images", (f"{index}.png", content)) for index, content in enumerate(files)]
    text = options if isinstance(options, str) else json.dumps(options)
    return client.post("/v1/jobs", files=[("spec", (None, text, "application/json")), *parts])


def test_a_job_is_accepted_with_all_its_parameters_resolved(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    answer = client.post(
        "/v1/jobs", json=spec(image_ids, params={"flow_steps": 5}, seed=3, name="cats", labels={"team": "felines"})
    )
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == job["links"]["self"] == f"/v1/jobs/{job['id']}"
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["etag"] == f'W/"r{job["revision"]}"'
    expected = {**SPEC.params().model_dump(), "flow_steps": 5, "backbone": "embedded", "saliency": "none"}
    assert job["params"] == expected
    assert (job["state"], job["seed"], job["name"], job["labels"]) == ("queued", 3, "cats", {"team": "felines"})
    assert job["queue"] == {"lane": "default", "position": 1}
    assert [image["id"] for image in job["inputs"]["images"]] == image_ids
    assert client.get(job["links"]["self"]).json() == job


def test_a_job_runs_on_a_set(client: TestClient) -> None:
    created = client.post("/v1/image-sets", json={"image_ids": uploaded_ids(client, 2)}).json()
    answer = client.post("/v1/jobs", json={"method": METHOD, "image_set_id": created["id"]})
    assert answer.json()["inputs"]["image_set_id"] == created["id"]


def test_a_job_may_bring_its_images_along(client: TestClient) -> None:
    answer = post_form(client, {"method": METHOD, "seed": 5}, png(1), png(2))
    assert answer.status_code == 202
    job = answer.json()
    assert job["seed"] == 5
    assert [image["name"] for image in job["inputs"]["images"]] == ["0.png", "1.png"]
    assert client.get(f"/v1/images/{job['inputs']['images'][1]['id']}").status_code == 200


def test_submission_wakes_a_worker(client: TestClient, services: Services) -> None:
    submit(client, uploaded_ids(client, 2))
    services.wake_ups.stop()
    messages = list(Path(services.settings.broker_dir / "messages").glob("*.msg"))
    assert len(messages) == 1
    assert "congeal.wake" in messages[0].read_text()


def test_unknown_method(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json=spec(uploaded_ids(client, 2), method="neural_congaeling"))
    body = problem(answer, "unknown-method", 422)
    assert pointers(body) == ["/method"]
    assert "did you mean 'neural_congealing'" in body["detail"]
    assert "nearest_neighbors" in body["detail"]


def test_unknown_parameters_list_the_known_ones(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json=spec(uploaded_ids(client, 2), params={"working_sise": 256}))
    body = problem(answer, "invalid-params", 422)
    assert pointers(body) == ["/params/working_sise"]
    detail = body["errors"][0]["detail"]
    assert all(name in detail for name in SPEC.params.model_fields)
    assert "did you mean 'working_size'" in detail


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"working_size": 1024}, "less than or equal to 512; got 1024"),
        ({"working_size": 130}, "multiple of 32; got 130"),
        ({"working_size": "256"}, "got '256'"),
        ({"working_size": True}, "got True"),
        ({"working_size": None}, "got None"),
        ({"working_size": [1] * 100}, "…"),
        ({"flips": "maybe"}, "'auto' or 'off'; got 'maybe'"),
        ({"smoothness": 0}, "greater than 0; got 0"),
        ({"backbone": "resnet"}, "'dense_descriptor'"),
        ({"a/b~c": 1}, "there is no 'a/b~c'"),
    ],
)
def test_parameters_out_of_range(client: TestClient, params: dict[str, Any], says: str) -> None:
    answer = client.post("/v1/jobs", json=spec(uploaded_ids(client, 2), params=params))
    body = problem(answer, "invalid-params", 422)
    name = next(iter(params)).replace("~", "~0").replace("/", "~1")
    assert pointers(body) == [f"/params/{name}"]
    assert says in body["errors"][0]["detail"]
    assert METHOD in body["detail"]


def test_all_faults_are_told_at_once(client: TestClient) -> None:
    params = {"working_size": 1, "atlas_size": 1, "nonsense": 1}
    answer = client.post("/v1/jobs", json=spec(uploaded_ids(client, 2), params=params))
    body = problem(answer, "invalid-params", 422)
    assert sorted(pointers(body)) == sorted(f"/params/{name}" for name in params)
    assert "and 2 more" in body["detail"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "[NaN]"])
def test_numbers_that_are_not_finite(client: TestClient, value: str) -> None:
    body = json.dumps(spec(uploaded_ids(client, 2), params={"smoothness": "@"})).replace('"@"', value)
    answer = client.post("/v1/jobs", content=body, headers={"Content-Type": "application/json"})
    refused = problem(answer, "invalid-params", 422)
    assert pointers(refused) == ["/params/smoothness"]
    assert "finite" in refused["detail"]


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images(client: TestClient, count: int) -> None:
    body = problem(post_form(client, {"method": METHOD}, *[png(seed) for seed in range(count)]), "too-few-images", 422)
    assert pointers(body) == ["/images"]
    assert f"at least 2 images, got {count}" in body["detail"]


def test_too_few_image_ids(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 1)
    body = problem(client.post("/v1/jobs", json=spec(image_ids)), "too-few-images", 422)
    assert pointers(body) == ["/image_ids"]
    created = client.post("/v1/image-sets", json={"image_ids": image_ids}).json()
    answer = client.post("/v1/jobs", json={"method": METHOD, "image_set_id": created["id"]})
    assert pointers(problem(answer, "too-few-images", 422)) == ["/image_set_id"]
    problem(client.post("/v1/jobs", json=spec([])), "validation-error", 422)


def test_too_many_images(client: TestClient) -> None:
    count = SPEC.max_images + 1
    made_up = [f"img_{index:026d}" for index in range(count)]
    body = problem(client.post("/v1/jobs", json=spec(made_up)), "too-many-images", 413)
    assert pointers(body) == ["/image_ids"]
    assert f"at most {SPEC.max_images} images, got {count}" in body["detail"]


def test_unknown_images_and_sets(client: TestClient) -> None:
    answer = client.post("/v1/jobs", json=spec([*uploaded_ids(client, 1), MISSING]))
    assert pointers(problem(answer, "image-not-found", 422)) == ["/image_ids/1"]
    answer = client.post("/v1/jobs", json={"method": METHOD, "image_set_id": MISSING.replace("img", "set")})
    assert pointers(problem(answer, "image-set-not-found", 422)) == ["/image_set_id"]


@pytest.mark.parametrize(("size", "says"), [((15, 64), "at least 16"), ((290, 16), "16 times"), ((16, 256), None)])
def test_images_that_are_too_small_or_too_thin(client: TestClient, size: tuple[int, int], says: str | None) -> None:
    odd = upload(client, [("odd.png", png(9, size))]).json()["items"][0]["id"]
    image_ids = [*uploaded_ids(client, 1), odd]
    answer = client.post("/v1/jobs", json=spec(image_ids))
    if says is None:
        assert answer.status_code == 202
        return
    body = problem(answer, "image-shape", 422)
    assert pointers(body) == ["/image_ids/1"]
    assert says in body["errors"][0]["detail"]
    assert f"{size[0]} x {size[1]}" in body["detail"]
    set_id = client.post("/v1/image-sets", json={"image_ids": image_ids}).json()["id"]
    answer = client.post("/v1/jobs", json={"method": METHOD, "image_set_id": set_id})
    assert pointers(problem(answer, "image-shape", 422)) == ["/image_set_id"]


def test_either_images_or_a_set(client: TestClient) -> None:
    for body in ({"method": METHOD}, spec(uploaded_ids(client, 2), image_set_id=MISSING.replace("img", "set"))):
        refused = problem(client.post("/v1/jobs", json=body), "validation-error", 422)
        assert "either image_set_id or image_ids" in refused["detail"]


def test_auto_takes_the_best_backbone_at_hand(client: TestClient, services: Services) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8", "dinov2_vits14")
    image_ids = uploaded_ids(client, 2)
    assert submit(client, image_ids)["params"]["backbone"] == "dinov2_vits14"
    chosen = submit(client, image_ids, params={"backbone": "dino_vits8"})
    assert chosen["params"]["backbone"] == "dino_vits8"


def test_a_backbone_without_weights(client: TestClient, services: Services) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8")
    answer = client.post("/v1/jobs", json=spec(uploaded_ids(client, 2), params={"backbone": "dinov2_vitb14"}))
    body = problem(answer, "weights-missing", 409)
    assert pointers(body) == ["/params/backbone"]
    for hint in (
        "'dinov2_vitb14'",
        "dense_descriptor, dino_vits8, embedded",
        "346 MB",
        "congeal weights pull dinov2_vitb14",
    ):
        assert hint in body["detail"]


def test_weights_that_the_parameters_need_besides_those_of_the_backbone(
    client: TestClient, services: Services, plain_method: str
) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8", weights=["dino_vits8"])
    wanted = spec(uploaded_ids(client, 2), method=plain_method, params={"perceptual": True})
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        body = problem(client.post(path, json=wanted), "weights-missing", 409)
        assert pointers(body) == ["/params"]
        for hint in ("'vgg16' (553 MB)", "congeal weights pull vgg16"):
            assert hint in body["detail"]
        assert client.post(path, json=wanted | {"params": {}}).is_success
    register_worker(services, "dense_descriptor", "dino_vits8", weights=["dino_vits8", "vgg16"])
    assert client.post("/v1/jobs:validate", json=wanted).status_code == 200
    job = submit(client, wanted["image_ids"], method=plain_method, params=wanted["params"])
    assert (job["params"]["perceptual"], job["params"]["backbone"]) == (True, "dino_vits8")
    register_worker(services, "dense_descriptor", weights=["vgg16"], silent_s=3600)
    problem(client.post("/v1/jobs", json=wanted), "weights-missing", 409)


def test_the_job_shows_what_of_the_backbone_is_read(client: TestClient, services: Services) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8")
    job = submit(client, uploaded_ids(client, 2), params={"features": {"layer": 9, "stride": 2}})
    assert job["params"]["backbone"] == "dino_vits8"
    read = {name: value for name, value in job["params"]["features"].items() if value is not None}
    assert read == {"layer": 9, "facet": "key", "stride": 2, "log_bins": False}


@pytest.mark.parametrize(
    ("backbone", "features", "pointer", "says"),
    [
        ("dino_vits8", {"layer": 12}, "/params/features/layer", "it has 0 to 11"),
        ("dino_vits8", {"layer": -1}, "/params/features/layer", "greater than or equal to 0"),
        ("dino_vits8", {"facet": "keys"}, "/params/features/facet", "'key', 'query', 'value', 'token' or 'attention'"),
        ("dino_vits8", {"stride": 3}, "/params/features/stride", "use 1, 2, 4, 8"),
        ("dino_vits8", {"prompt": "a fish"}, "/params/features/prompt", "it takes layer, facet, stride, log_bins"),
        ("dense_descriptor", {"layer": 1}, "/params/features/layer", "it takes no options"),
        ("auto", {"timestep": 261}, "/params/features/timestep", "'dino_vits8' has no timestep"),
        ("dino_vits8", {"layers": 1}, "/params/features/layers", "did you mean 'layer'?"),
        ("dino_vit", {}, "/params/backbone", "'dinov2_vitb14_reg'"),
    ],
)
def test_features_that_do_not_fit_the_backbone(
    client: TestClient, services: Services, backbone: str, features: dict[str, Any], pointer: str, says: str
) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8")
    params = {"backbone": backbone, "features": features}
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        answer = client.post(path, json=spec(uploaded_ids(client, 2), params=params))
        body = problem(answer, "invalid-params", 422)
        assert pointers(body) == [pointer]
        assert says in body["errors"][0]["detail"]


def test_a_saliency_that_does_not_fit_the_backbone(client: TestClient, services: Services) -> None:
    register_worker(services, "dense_descriptor", "dino_vits8")
    wanted = {"method": "nearest_neighbors", "image_ids": uploaded_ids(client, 2)}
    params = {"saliency": "cosegmentation", "backbone": "dense_descriptor", "features": {"stride": 2}}
    body = problem(client.post("/v1/jobs", json=wanted | {"params": params}), "invalid-params", 422)
    assert pointers(body) == ["/params/features/stride", "/params/saliency"]
    assert "dino_vits8" in body["errors"][1]["detail"]
    answer = client.post("/v1/jobs", json=wanted | {"params": {"saliency": "cosegmentation"}})
    assert answer.status_code == 202


def test_the_weight_free_backbone_needs_no_worker(client: TestClient) -> None:
    job = submit(client, uploaded_ids(client, 2), params={"backbone": "dense_descriptor"})
    assert job["params"]["backbone"] == "dense_descriptor"


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (b"{", "malformed-body", 400),
        (b"\xff\xfe", "malformed-body", 400),
        (b"[" * 50_000, "malformed-body", 400),
        (b"[]", "validation-error", 422),
        (b"null", "validation-error", 422),
        (b'{"method": "nearest_neighbors", "priority": "urgent"}', "validation-error", 422),
    ],
)
def test_malformed_json(client: TestClient, body: bytes, code: str, status: int) -> None:
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        problem(client.post(path, content=body, headers={"Content-Type": "application/json"}), code, status)


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", "application/x-www-form-urlencoded"])
def test_other_media_types(client: TestClient, media_type: str) -> None:
    for path in ("/v1/jobs", "/v1/jobs:validate"):
        answer = client.post(path, content=b"{}", headers={"Content-Type": media_type})
        body = problem(answer, "unsupported-media-type", 415)
        assert media_type in body["detail"]
        assert "application/json" in body["detail"]


def test_forms_that_do_not_fit(client: TestClient, services: Services) -> None:
    missing = client.post("/v1/jobs", files=[("images", ("a.png", png(1)))])
    assert pointers(problem(missing, "malformed-body", 400)) == ["/spec"]
    broken = post_form(client, "{", png(1), png(2))
    assert "'spec' is not JSON" in problem(broken, "malformed-body", 400)["detail"]
    wrong = post_form(client, {"method": METHOD, "seed": -1}, png(1), png(2))
    assert pointers(problem(wrong, "validation-error", 422)) == ["/spec/seed"]
    ids = post_form(client, {"method": METHOD, "image_ids": [MISSING]}, png(1), png(2))
    assert pointers(problem(ids, "validation-error", 422)) == ["/spec/image_ids"]
    params = post_form(client, {"method": METHOD, "params": {"flips": 1}}, png(1), png(2))
    problem(params, "invalid-params", 422)
    bad_file = post_form(client, {"method": METHOD}, png(1), b"hello")
    assert pointers(problem(bad_file, "not-an-image", 422)) == ["/images/1"]
    assert not list(services.settings.blobs_dir.rglob("images/**/*"))


def test_an_image_may_stand_only_once(client: TestClient) -> None:
    body = problem(post_form(client, {"method": METHOD}, png(1), png(2), png(1)), "repeated-image", 422)
    assert pointers(body) == ["/images/2"]
    assert "'2.png' is the same file as '0.png'" in body["detail"]


def test_validation_resolves_and_creates_nothing(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    answer = client.post("/v1/jobs:validate", json=spec(image_ids, params={"flow_steps": 1}))
    assert answer.status_code == 200
    told = answer.json()
    assert (told["method"], told["images"]) == (METHOD, 2)
    assert (told["params"]["flow_steps"], told["params"]["backbone"]) == (1, "embedded")
    assert client.get("/v1/jobs").json()["items"] == []
    problem(client.post("/v1/jobs:validate", json=spec(image_ids, params={"x": 1})), "invalid-params", 422)
