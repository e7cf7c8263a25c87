"""Edits over HTTP: paint lands where maps known in closed form say, and what does not fit is refused."""

import hashlib
import io
import json
import resource
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fastapi.testclient import TestClient
from PIL import Image, ImageCms

from alignment.sampling import ImageSize
from service.dependencies import Services
from service.images.decoding import PictureLimits, read_rgba
from tests.alignment.builders import SIZES, TO_IMAGE, affine_atlas, affine_pairs, apply
from tests.alignment.test_edits import area, centroid, disc
from tests.service.conftest import Live
from tests.service.finished import COLOURS, finished_job
from tests.service.pictures import encoded, plain, png
from tests.service.requests import Client, pointers, problem, submit, uploaded_ids
from tests.service.results import claim, fail

Job = dict[str, Any]
Pixels = npt.NDArray[np.uint8]
CENTRE = np.array([0.45, 0.55])
STRANGER = "img_01k8zd6c2q4x7v9m3n5p8r0s1t"
NO_EDIT = "edt_01k8zd6c2q4x7v9m3n5p8r0s1t"


@pytest.fixture
def atlas_job(client: TestClient, services: Services, tmp_path: Path) -> Job:
    return finished_job(client, services, tmp_path / "atlas", affine_atlas(64), "neural_congealing")


@pytest.fixture
def pairs_job(client: TestClient, services: Services, tmp_path: Path) -> Job:
    return finished_job(client, services, tmp_path / "pairs", affine_pairs(), "nearest_neighbors")


def image_id(job: Job, index: int) -> str:
    return str(job["inputs"]["images"][index]["id"])


def dot(side: int = 64, colour: tuple[int, int, int] = (220, 30, 40)) -> bytes:
    """A layer for the atlas with a disc."""
    return encoded(Image.fromarray(disc(CENTRE * side, 0.15 * side, ImageSize(side, side), colour)))


def post(client: Client, job: Job, layer: bytes, **spec: Any) -> Any:
    """Send a layer and what to do with it."""
    return client.post(
        f"{job['links']['self']}/edits",
        data={"spec": json.dumps({"space": "atlas", **spec})},
        files={"layer": ("layer.png", layer)},
    )


def made(client: TestClient, job: Job, layer: bytes, **spec: Any) -> Any:
    """Make an edit and return it."""
    answer = post(client, job, layer, **spec)
    assert answer.status_code == 201, answer.text
    return answer.json()


def picture(client: TestClient, stored: dict[str, Any], mode: str) -> Pixels:
    """Fetch a picture of an edit."""
    answer = client.get(stored["href"])
    assert answer.status_code == 200
    assert len(answer.content) == stored["bytes"]
    assert hashlib.sha256(answer.content).hexdigest() == stored["sha256"]
    with Image.open(io.BytesIO(answer.content)) as opened:
        assert (opened.format, opened.mode) == ("PNG", mode)
        return np.array(opened)


def stored_files(services: Services) -> list[str]:
    """What lies in the folders of edits."""
    return [path.name for path in services.settings.blobs_dir.rglob("edits/**/*") if path.is_file()]


def test_paint_on_the_atlas_lands_on_every_image(client: TestClient, atlas_job: Job) -> None:
    answer = post(client, atlas_job, dot(), name="dot")
    edit = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == edit["links"]["self"]
    assert edit["links"]["job"] == atlas_job["links"]["self"]
    assert edit["spec"]["targets"] == [image_id(atlas_job, index) for index in range(3)]
    assert edit["layer_sha256"] == hashlib.sha256(dot()).hexdigest()
    assert [(result["index"], result["image"]) for result in edit["results"]] == [
        (index, image_id(atlas_job, index)) for index in range(3)
    ]
    for result, size, matrix in zip(edit["results"], SIZES, TO_IMAGE, strict=True):
        layer, laid_over = picture(client, result["layer"], "RGBA"), picture(client, result["composite"], "RGB")
        assert (
            layer.shape[:2] == laid_over.shape[:2] == (result["height"], result["width"]) == (size.height, size.width)
        )
        assert centroid(layer, size.extent) == pytest.approx(apply(matrix, CENTRE), abs=0.1)
        assert area(layer, size.extent) == pytest.approx(np.pi * 0.15**2 * abs(np.linalg.det(matrix[:, :2])), rel=0.03)
        assert result["coverage"] == pytest.approx((layer[..., 3] > 0).mean(), abs=1e-5)
    assert client.get(edit["links"]["self"]).json() == edit


def test_composites_show_the_paint_over_the_image(client: TestClient, atlas_job: Job) -> None:
    for blend, expected in (("over", [220, 30, 40]), ("multiply", [0, 15, 20]), ("screen", [220, 143, 148])):
        edit = made(client, atlas_job, dot(), blend=blend)
        layer, laid_over = (
            picture(client, edit["results"][0][part], mode) for part, mode in (("layer", "RGBA"), ("composite", "RGB"))
        )
        teal = np.array(plain(COLOURS[0], (1, 1)))[0, 0]
        assert (laid_over[layer[..., 3] == 0] == teal).all()
        assert np.abs(laid_over[layer[..., 3] == 255].astype(int) - expected).max() <= 1
        assert (layer[..., 3] == 255).sum() > 20


@pytest.mark.parametrize("job_fixture", ["atlas_job", "pairs_job"])
def test_paint_on_one_image_appears_on_the_others(
    client: TestClient, job_fixture: str, request: pytest.FixtureRequest
) -> None:
    job: Job = request.getfixturevalue(job_fixture)
    place = apply(TO_IMAGE[1], CENTRE)
    # Twice as large as the image.
    layer = encoded(Image.fromarray(disc(place * 2, 10.0, ImageSize(100, 160))))
    edit = made(client, job, layer, space="image", image=image_id(job, 1))
    assert len(edit["results"]) == 3
    for result, size, matrix in zip(edit["results"], SIZES, TO_IMAGE, strict=True):
        found = centroid(picture(client, result["layer"], "RGBA"), size.extent)
        assert found == pytest.approx(apply(matrix, CENTRE), abs=0.2)
    others = made(client, job, layer, space="image", image=image_id(job, 1), targets=[image_id(job, 2)])
    assert [result["index"] for result in others["results"]] == [2]


def test_results_are_as_large_as_asked_for_and_never_larger_than_the_image(
    client: TestClient, services: Services, tmp_path: Path
) -> None:
    job = finished_job(client, services, tmp_path / "atlas", affine_atlas(), "neural_congealing")
    edit = made(client, job, dot(), max_side=64)
    assert [(result["width"], result["height"]) for result in edit["results"]] == [(64, 48), (40, 64), (32, 32)]
    layer = picture(client, edit["results"][1]["layer"], "RGBA")
    assert centroid(layer, SIZES[1].extent) == pytest.approx(apply(TO_IMAGE[1], CENTRE), abs=0.2)


def test_opacity_and_saliency_thin_the_paint(client: TestClient, atlas_job: Job) -> None:
    for spec, share in (({"opacity": 0.5}, 0.5), ({"saliency": True}, 0.75), ({"opacity": 0.4, "saliency": True}, 0.3)):
        layer = picture(client, made(client, atlas_job, dot(), **spec)["results"][0]["layer"], "RGBA")
        assert layer[..., 3].max() == pytest.approx(255 * share, abs=1)


def test_a_layer_without_alpha_is_opaque(client: TestClient, atlas_job: Job) -> None:
    for layer in (encoded(plain("red", (32, 32))), encoded(plain("red", (32, 32)), "JPEG", quality=95)):
        painted = picture(client, made(client, atlas_job, layer)["results"][0]["layer"], "RGBA")
        assert painted[24, 32, 3] == 255
        assert np.abs(painted[24, 32, :3].astype(int) - (255, 0, 0)).max() <= 3


def test_layers_of_every_kind_keep_their_alpha_and_are_turned_upright(tmp_path: Path) -> None:
    painted = Image.new("RGBA", (40, 20))
    painted.paste((200, 40, 90, 128), (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    files = {
        "png": encoded(painted),
        "webp": encoded(painted, "WEBP", lossless=True),
        "profile": encoded(painted, icc_profile=profile),
        "turned": encoded(painted.transpose(Image.Transpose.ROTATE_90), exif=exif),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        found = np.array(read_rgba(tmp_path / name, PictureLimits(10_000, 100)))
        assert found.shape == (20, 40, 4), name
        assert np.abs(found[:, :10].astype(int) - (200, 40, 90, 128)).max() <= 1, name
        assert (found[:, 10:, 3] == 0).all(), name
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 10, 200, 30])
    palette.putpixel((1, 2), 1)
    (tmp_path / "palette").write_bytes(encoded(palette, transparency=0))
    found = np.array(read_rgba(tmp_path / "palette", PictureLimits(10_000, 100)))
    assert found[2, 1].tolist() == [10, 200, 30, 255]
    assert found[..., 3].sum() == 255


def test_an_edit_ends_with_the_service(client: TestClient, services: Services, atlas_job: Job) -> None:
    services.closing.set()
    answer = post(client, atlas_job, dot())
    assert "about to end" in problem(answer, "not-ready", 503)["detail"]
    assert int(answer.headers["retry-after"]) > 0
    assert stored_files(services) == []


def test_the_same_layer_and_specification_make_one_edit(client: TestClient, services: Services, atlas_job: Job) -> None:
    first = made(client, atlas_job, dot())
    files = sorted(stored_files(services))
    explicit = [image_id(atlas_job, index) for index in (2, 0, 1)]
    for spec in ({}, {"targets": explicit}, {"blend": "over", "opacity": 1.0}):
        again = post(client, atlas_job, dot(), **spec)
        assert again.status_code == 200
        assert again.json() == first
        assert again.headers["location"] == first["links"]["self"]
    assert sorted(stored_files(services)) == files
    assert len(files) == 6
    for changed in (
        made(client, atlas_job, dot(), opacity=0.9),
        made(client, atlas_job, dot(colour=(1, 2, 3))),
        made(client, atlas_job, dot(), name="another"),
    ):
        assert changed["id"] != first["id"]


def test_edits_are_listed_newest_first_and_belong_to_their_job(
    client: TestClient, services: Services, tmp_path: Path, atlas_job: Job
) -> None:
    edits = [made(client, atlas_job, dot(), name=str(number)) for number in range(3)]
    address = f"{atlas_job['links']['self']}/edits"
    page = client.get(address, params={"limit": 2})
    assert [item["id"] for item in page.json()["items"]] == [edits[2]["id"], edits[1]["id"]]
    assert 'rel="next"' in page.headers["link"]
    rest = client.get(address, params={"limit": 2, "cursor": page.json()["next_cursor"]}).json()
    assert [item["id"] for item in rest["items"]] == [edits[0]["id"]]
    assert not rest["has_more"]
    other = finished_job(client, services, tmp_path / "other", affine_atlas(), "neural_congealing")
    assert client.get(f"{other['links']['self']}/edits").json()["items"] == []
    moved = {"limit": 2, "cursor": page.json()["next_cursor"]}
    problem(client.get(f"{other['links']['self']}/edits", params=moved), "invalid-cursor", 400)
    problem(client.get(f"{other['links']['self']}/edits/{edits[0]['id']}"), "not-found", 404)
    problem(client.delete(f"{other['links']['self']}/edits/{edits[0]['id']}"), "not-found", 404)


def test_an_edit_can_be_removed(client: TestClient, services: Services, atlas_job: Job) -> None:
    kept, edit = made(client, atlas_job, dot(), opacity=0.5), made(client, atlas_job, dot())
    removed = client.delete(edit["links"]["self"])
    assert (removed.status_code, removed.content) == (204, b"")
    for address in (edit["links"]["self"], edit["results"][0]["layer"]["href"]):
        assert "has no edit" in problem(client.get(address), "not-found", 404)["detail"]
    problem(client.delete(edit["links"]["self"]), "not-found", 404)
    assert len(stored_files(services)) == 6
    assert picture(client, kept["results"][0]["layer"], "RGBA").any()
    assert made(client, atlas_job, dot())["id"] != edit["id"]


def test_pictures_are_served_in_parts_and_safely(client: TestClient, atlas_job: Job) -> None:
    edit = made(client, atlas_job, dot())
    address = edit["results"][2]["composite"]["href"]
    whole = client.get(address)
    assert whole.headers["content-type"] == "image/png"
    assert whole.headers["content-disposition"].startswith("inline;")
    assert "sandbox" in whole.headers["content-security-policy"]
    part = client.get(address, headers={"Range": "bytes=8-15"})
    assert (part.status_code, part.content) == (206, whole.content[8:16])
    assert client.get(address, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert client.head(address).headers["content-length"] == str(len(whole.content))
    name = client.get(address, params={"download": "1"}).headers["content-disposition"]
    assert name == f'attachment; filename="{edit["id"]}-002-composite.png"'
    problem(client.get(address, headers={"Range": "bytes=9999999-"}), "range-not-satisfiable", 416)
    for missing in (f"results/{STRANGER}/layer", "results/x/layer"):
        problem(client.get(f"{edit['links']['self']}/{missing}"), "not-found", 404)
    problem(client.get(address.replace("composite", "preview")), "validation-error", 422)


def test_pairwise_maps_take_no_paint_on_an_atlas(client: TestClient, pairs_job: Job) -> None:
    refused = problem(post(client, pairs_job, dot()), "capability-missing", 409)
    assert pointers(refused) == ["/spec/space"]
    assert "nearest_neighbors" in refused["detail"]


@pytest.mark.parametrize(
    ("spec", "pointer"),
    [
        ({"space": "sky"}, "/spec/space"),
        ({"opacity": 0}, "/spec/opacity"),
        ({"opacity": 1.5}, "/spec/opacity"),
        ({"max_side": 63}, "/spec/max_side"),
        ({"max_side": 4097}, "/spec/max_side"),
        ({"blend": "burn"}, "/spec/blend"),
        ({"targets": []}, "/spec/targets"),
        ({"targets": [STRANGER, STRANGER]}, "/spec/targets"),
        ({"targets": ["atlas"]}, "/spec/targets/0"),
        ({"space": "image"}, "/spec"),
        ({"image": STRANGER}, "/spec"),
        ({"feather": 3}, "/spec/feather"),
    ],
)
def test_specifications_that_do_not_fit(client: TestClient, atlas_job: Job, spec: dict[str, Any], pointer: str) -> None:
    assert pointers(problem(post(client, atlas_job, dot(), **spec), "validation-error", 422)) == [pointer]


def test_images_of_other_jobs_are_refused(client: TestClient, atlas_job: Job) -> None:
    refused = post(client, atlas_job, dot(), targets=[image_id(atlas_job, 0), STRANGER])
    assert pointers(problem(refused, "image-not-found", 422)) == ["/spec/targets/1"]
    refused = post(client, atlas_job, dot(), space="image", image=STRANGER)
    assert pointers(problem(refused, "image-not-found", 422)) == ["/spec/image"]


def test_layers_that_do_not_fit(client: TestClient, services: Services, atlas_job: Job) -> None:
    on_first = {"space": "image", "image": image_id(atlas_job, 0)}
    cases: list[tuple[bytes, dict[str, Any], str, int, str]] = [
        (b"notes", {}, "not-an-image", 422, "PNG"),
        (dot()[:-40], {}, "image-truncated", 422, "cut short"),
        (encoded(Image.new("RGBA", (32, 32))), {}, "layer-empty", 422, "paint on it"),
        (png(1, (64, 48)), {}, "layer-shape", 422, "64 x 48, but the atlas is square"),
        (png(1, (64, 64)), on_first, "layer-shape", 422, "but the image is 64 x 48"),
        (encoded(plain("red", (302, 302))), {}, "image-too-large", 413, "300 pixels a side"),
    ]
    for layer, spec, code, status, says in cases:
        refused = problem(post(client, atlas_job, layer, **spec), code, status)
        assert pointers(refused) == ["/layer"]
        assert says in refused["detail"]
    assert post(client, atlas_job, png(1, (43, 32)), **on_first).status_code == 201
    assert len(stored_files(services)) == 6


def test_forms_that_lack_a_part(client: TestClient, atlas_job: Job) -> None:
    address = f"{atlas_job['links']['self']}/edits"
    spec, layer = {"spec": '{"space": "atlas"}'}, ("layer", ("a.png", dot()))
    assert pointers(problem(client.post(address, files=[layer]), "malformed-body", 400)) == ["/spec"]
    twice = client.post(address, data=spec, files=[layer, layer])
    assert pointers(problem(twice, "malformed-body", 400)) == ["/layer"]
    other = client.post(address, data=spec, files=[layer, ("mask", ("a.png", dot()))])
    assert "known are: layer, spec" in problem(other, "malformed-body", 400)["detail"]
    missing = client.post(address, files={"spec": (None, spec["spec"])})
    assert pointers(problem(missing, "malformed-body", 400)) == ["/layer"]
    problem(client.post(address, json={"space": "atlas"}), "unsupported-media-type", 415)
    broken = client.post(address, data={"spec": "{"}, files=[layer])
    assert "part 'spec' is not JSON" in problem(broken, "malformed-body", 400)["detail"]


def test_the_results_have_a_size_limit(
    client: TestClient, services: Services, atlas_job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(services.settings.__dict__, "max_edit_pixels", 64 * 48 + 32 * 32)
    refused = problem(post(client, atlas_job, dot()), "edit-too-large", 413)
    assert pointers(refused) == ["/spec/max_side"]
    assert "8096 pixels, the limit is 4096" in refused["detail"]
    two = [image_id(atlas_job, 0), image_id(atlas_job, 2)]
    assert post(client, atlas_job, dot(), targets=two).status_code == 201


def test_only_results_can_be_edited(client: TestClient, services: Services) -> None:
    job = submit(client, uploaded_ids(client, 2))
    problem(post(client, job, dot()), "job-not-finished", 409)
    assert client.get(f"{job['links']['self']}/edits").json()["items"] == []
    fail(services, claim(services))
    problem(post(client, job, dot()), "result-unavailable", 409)
    nowhere = {"links": {"self": "/v1/jobs/job_01k8zd6c2q4x7v9m3n5p8r0s1t"}}
    problem(post(client, nowhere, dot()), "not-found", 404)
    for address in ("edits", f"edits/{NO_EDIT}"):
        problem(client.get(f"{nowhere['links']['self']}/{address}"), "not-found", 404)
        problem(client.get(f"{job['links']['self']}/edits/x{address}"), "not-found", 404)


def test_equal_requests_at_the_same_time_make_one_edit(live: Live, tmp_path: Path) -> None:
    job = finished_job(live.client, live.services, tmp_path / "atlas", affine_atlas(), "neural_congealing")
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: post(live.client, job, dot()), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(stored_files(live.services)) == 6


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_told_and_leaves_nothing(client: TestClient, services: Services, tmp_path: Path) -> None:
    job = finished_job(client, services, tmp_path / "atlas", affine_atlas(), "neural_congealing", noisy=True)
    # Room for the layers, and not for the composites of noisy pictures.
    with files_of_at_most(4000):
        problem(post(client, job, dot()), "insufficient-storage", 507)
    assert stored_files(services) == []
    assert list(services.settings.uploads_dir.iterdir()) == []
    assert client.get(f"{job['links']['self']}/edits").json()["items"] == []
    assert made(client, job, dot())["results"][2]["composite"]["bytes"] > 2000
