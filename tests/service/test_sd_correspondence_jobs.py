"""Jobs with a diffusion model instead of a backbone: which model it becomes, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from api_schemas.methods.sd_correspondence import MAX_EMBEDDINGS
from service.app import create_app
from service.dependencies import Services
from tests.alignment.builders import SIZES, affine_pairs
from tests.service.conftest import MakeSettings
from tests.service.pictures import disc, encoded, png
from tests.service.requests import pointers, problem, submit, upload, uploaded_ids
from tests.service.results import succeed
from tests.service.test_methods import register_worker

METHOD = "sd_correspondence"
SMALL: dict[str, Any] = {"preset": "cached", "grid": {"step": 256}}


@pytest.fixture(autouse=True)
def worker(services: Services) -> None:
    """A worker that has one diffusion model, and not the one that is preferred."""
    register_worker(services, "embedded", "dino_vits8", weights=["dino_vits8", "sd14"])


def spec(image_ids: list[str], **params: Any) -> dict[str, Any]:
    """Return the body of a submission."""
    return {"method": METHOD, "image_ids": image_ids, "params": params}


def refused(client: TestClient, code: str, status: int, **submission: Any) -> dict[str, Any]:
    """Check that a submission is refused alike with and without validation alone; return the problem."""
    bodies = [problem(client.post(path, json=submission), code, status) for path in ("/v1/jobs", "/v1/jobs:validate")]
    assert bodies[0]["errors"] == bodies[1]["errors"]
    assert client.get("/v1/jobs").json()["items"] == []
    return bodies[0]


def point(x: float, y: float, image: int = 0, **more: Any) -> dict[str, Any]:
    """A query."""
    return {"image": image, "x": x, "y": y, **more}


def sized_ids(client: TestClient) -> list[str]:
    """Upload three pictures of different sizes."""
    files = [(f"{index}.png", png(index, (size.width, size.height))) for index, size in enumerate(SIZES)]
    return [item["id"] for item in upload(client, files).json()["items"]]


def test_auto_becomes_the_first_model_at_hand_and_all_tuning_is_shown(client: TestClient, services: Services) -> None:
    image_ids = uploaded_ids(client, 2)
    job = submit(client, image_ids, method=METHOD, params=SMALL)
    assert job["params"]["model"] == "sd14"
    assert "backbone" not in job["params"]
    assert "features" not in job["params"]
    assert job["params"]["tuning"]["fixed_features"] is True
    assert None not in job["params"]["tuning"].values()
    register_worker(services, "embedded", weights=["sd21", "sd14", "sd15"])
    assert submit(client, image_ids, method=METHOD, params=SMALL)["params"]["model"] == "sd15"
    assert submit(client, image_ids, method=METHOD, params={**SMALL, "model": "sd21"})["params"]["model"] == "sd21"


def test_validation_shows_the_work_and_the_tuning(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    told = client.post("/v1/jobs:validate", json=spec(image_ids, **SMALL)).json()
    assert 10 < told["work_tflop"] < 1000
    assert told["params"]["model"] == "sd14"
    assert told["params"]["tuning"]["steps"] == 64
    assert told["params"]["cycle"] is True
    more = client.post("/v1/jobs:validate", json=spec(image_ids, preset="fast", grid={"step": 256})).json()
    assert more["work_tflop"] > told["work_tflop"]
    other = {"method": "nearest_neighbors", "image_ids": image_ids}
    assert client.post("/v1/jobs:validate", json=other).json()["work_tflop"] is None


def test_a_point_outside_its_image(client: TestClient) -> None:
    image_ids = sized_ids(client)
    width, height = SIZES[1].width, SIZES[1].height
    queries = [point(width, height, 1), point(width + 1, 2, 1), point(1, -1), point(1, 1)]
    body = refused(client, "invalid-params", 422, **spec(image_ids, preset="cached", queries=queries))
    assert pointers(body) == ["/params/queries/1", "/params/queries/2"]
    assert {error["code"] for error in body["errors"]} == {"outside-image"}
    assert f"outside image 1, which is {width} x {height} pixels" in body["errors"][0]["detail"]


def test_more_points_than_a_job_takes(client: TestClient) -> None:
    queries = [point(index / 100, 1) for index in range(MAX_EMBEDDINGS + 1)]
    body = refused(client, "invalid-params", 422, **spec(uploaded_ids(client, 2), queries=queries))
    assert pointers(body) == ["/params/queries"]
    for part in (f"{MAX_EMBEDDINGS + 1} points", f"at most {MAX_EMBEDDINGS}", "TFLOP", "several jobs", "'joint'"):
        assert part in body["detail"]


def test_points_and_a_grid_both(client: TestClient) -> None:
    body = refused(client, "invalid-params", 422, **spec(uploaded_ids(client, 2), queries=[point(1, 1)], grid={}))
    assert "either queries or a grid, and not both" in body["detail"]


def test_images_that_are_not_in_the_set(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    body = refused(client, "invalid-params", 422, **spec(image_ids, **SMALL, targets=[1, 2]))
    assert pointers(body) == ["/params/targets/1"]
    assert "no image 2 in a set of 2" in body["detail"]
    body = refused(client, "invalid-params", 422, **spec(image_ids, queries=[point(1, 1, 5)]))
    assert pointers(body) == ["/params/queries/0/image"]


def test_a_point_that_stands_twice(client: TestClient) -> None:
    body = refused(client, "invalid-params", 422, **spec(uploaded_ids(client, 2), queries=[point(1, 2), point(1, 2)]))
    assert pointers(body) == ["/params/queries/1"]
    assert "the same point as query 0" in body["detail"]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("sd_15", ("there is no diffusion model 'sd_15'", "sd15, sd14, sd21", "did you mean 'sd15'?")),
        ("dino_vits8", ("'dino_vits8' is no diffusion model", "sd15, sd14, sd21")),
        ("embedded", ("'embedded' is no diffusion model",)),
    ],
)
def test_a_model_that_is_not_known(client: TestClient, model: str, says: tuple[str, ...]) -> None:
    body = refused(client, "invalid-params", 422, **spec(uploaded_ids(client, 2), **SMALL, model=model))
    assert pointers(body) == ["/params/model"]
    assert all(part in body["detail"] for part in says)


def test_a_model_that_no_worker_has(client: TestClient) -> None:
    body = refused(client, "weights-missing", 409, **spec(uploaded_ids(client, 2), **SMALL, model="sd15"))
    assert pointers(body) == ["/params/model"]
    for part in ("'sd15' (4267 MB)", "at hand: sd14", "congeal weights pull sd15"):
        assert part in body["detail"]


def test_auto_where_no_worker_has_a_model(client: TestClient, services: Services) -> None:
    register_worker(services, "embedded", weights=["sd14"], silent_s=3600)
    body = refused(client, "weights-missing", 409, **spec(uploaded_ids(client, 2), **SMALL))
    assert pointers(body) == ["/params/model"]
    for part in ("'sd15' (4267 MB)", "'sd14' (3773 MB)", "'sd21' (3798 MB)", "congeal weights pull sd15`"):
        assert part in body["detail"]


def test_a_checkpoint_of_the_operators_own(
    client: TestClient, services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = ("unet/config.json", "vae/config.json")
    parts += tuple(f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae"))
    files = "".join(f'[[cats_sd.files]]\npath = "{part}"\nbytes = 1_000_000_000\n' for part in parts)
    path = tmp_path / "own.toml"
    path.write_text(f'[cats_sd]\nhub = "me/cats"\nlicense = "CC0-1.0"\nfamily = "stable_diffusion"\n{files}')
    monkeypatch.setenv("CONGEAL_WEIGHTS_CATALOGUE", str(path))
    image_ids = uploaded_ids(client, 2)
    wanted = spec(image_ids, **SMALL, model="cats_sd")
    body = refused(client, "weights-missing", 409, **wanted)
    assert "'cats_sd' (4000 MB)" in body["detail"]
    register_worker(services, "embedded", weights=["cats_sd"])
    for model in ("cats_sd", "auto"):
        job = submit(client, image_ids, method=METHOD, params={**SMALL, "model": model})
        assert job["params"]["model"] == "cats_sd"


def test_too_much_work_is_told_with_estimate_limit_time_and_remedy(make_settings: MakeSettings) -> None:
    app = create_app(make_settings(max_job_tflop=144_000))
    register_worker(app.state.services, "embedded", weights=["sd14"])
    with TestClient(app) as client:
        image_ids = uploaded_ids(client, 4)
        body = refused(client, "too-much-work", 413, **spec(image_ids, preset="official", grid={"step": 32}))
        assert pointers(body) == ["/image_ids"]
        for part in ("144,000 TFLOP (roughly 2 hours at 20 TFLOP/s)", "4 images", "fewer points", "cheaper preset"):
            assert part in body["detail"]
        assert "CONGEAL_MAX_JOB_TFLOP" in body["detail"]
        estimate = float(body["detail"].partition("about ")[2].partition(" TFLOP")[0].replace(",", ""))
        assert estimate > 144_000
        assert submit(client, image_ids, method=METHOD, params=SMALL)["state"] == "queued"


def test_too_much_memory(make_settings: MakeSettings) -> None:
    app = create_app(make_settings(max_job_bytes=2**30))
    register_worker(app.state.services, "embedded", weights=["sd14"])
    with TestClient(app) as client:
        refused(client, "too-much-memory", 413, **spec(uploaded_ids(client, 2), **SMALL))


def test_masks_are_not_taken(client: TestClient) -> None:
    image_ids = uploaded_ids(client, 2)
    mask = upload(client, [("m.png", encoded(disc()))]).json()["items"][0]["id"]
    masks = dict.fromkeys(image_ids, mask)
    body = refused(client, "masks-not-taken", 422, **spec(image_ids, **SMALL), masks=masks)
    assert pointers(body) == ["/masks"]


def test_an_extension_takes_over_model_and_points(client: TestClient, services: Services, tmp_path: Path) -> None:
    params = {"preset": "cached", "queries": [point(3, 4, id="nose")], "tuning": {"steps": 9}}
    base = submit(client, sized_ids(client), method=METHOD, params=params)
    succeed(services, affine_pairs(), tmp_path)
    register_worker(services, "embedded", weights=["sd15", "sd14"])
    new = uploaded_ids(client, 1, first_seed=10)
    for given in ({}, {"model": "auto"}, {"model": "sd14"}, params, base["params"]):
        job = submit(client, new, method=METHOD, params=given, extends=base["id"])
        assert job["params"] == base["params"]
        assert job["params"]["model"] == "sd14"
    body = problem(
        client.post("/v1/jobs", json={**spec(new, model="sd15"), "extends": base["id"]}), "base-mismatch", 422
    )
    assert pointers(body) == ["/params/model"]
    assert "has 'sd14', got 'sd15'" in body["detail"]
    register_worker(services, "embedded", weights=["sd15"])
    body = problem(client.post("/v1/jobs", json={**spec(new), "extends": base["id"]}), "weights-missing", 409)
    assert pointers(body) == ["/params/model"]
    assert "'sd14' (3773 MB)" in body["detail"]
