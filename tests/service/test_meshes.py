"""Upload meshes, be refused, and look at them."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from alignment.glb import read_glb
from alignment.mesh import Mesh
from service.app import create_app
from service.dependencies import Services
from tests.service.conftest import MakeSettings
from tests.service.meshes import (
    PAINTED,
    TETRAHEDRON,
    TEXTURED,
    grid_obj,
    picture,
    ply,
    png_of,
    textured_zip,
    triangle_glb,
    zipped,
)
from tests.service.requests import pointers, problem

MAX_BYTES = 300_000
MAX_FACES = 200


@pytest.fixture
def app(make_settings: MakeSettings) -> FastAPI:
    settings = make_settings(
        max_mesh_bytes=MAX_BYTES, max_mesh_faces=MAX_FACES, max_image_pixels=200 * 200, max_image_side=300
    )
    return create_app(settings)


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    with TestClient(app) as opened:
        yield opened


def send(client: TestClient, content: str | bytes, file: str = "thing.obj", **fields: str) -> Any:
    return client.post("/v1/meshes", files={"mesh": (file, content)}, data=fields)


def sent(client: TestClient, content: str | bytes, file: str = "thing.obj", **fields: str) -> dict[str, Any]:
    answer = send(client, content, file, **fields)
    assert answer.status_code == 201, answer.text
    mesh: dict[str, Any] = answer.json()
    return mesh


def stored(client: TestClient, mesh: dict[str, Any]) -> Mesh:
    return read_glb(client.get(mesh["links"]["content"]).content)


def stored_files(services: Services) -> list[Path]:
    folders = (services.settings.blobs_dir / "meshes", services.settings.uploads_dir)
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def test_an_upload_answers_with_the_mesh_and_its_content(client: TestClient) -> None:
    answer = send(client, TETRAHEDRON, "tetra.obj")
    mesh = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == mesh["links"]["self"] == f"/v1/meshes/{mesh['id']}"
    assert mesh["id"].startswith("msh_")
    assert (mesh["object"], mesh["name"], mesh["vertices"], mesh["faces"]) == ("mesh", "tetra.obj", 4, 4)
    assert (mesh["uploaded_faces"], mesh["colours"], mesh["is_watertight"]) == (4, "none", True)
    assert mesh["bounds"] == [[0, 0, 0], [1, 1, 1]]
    assert mesh["warnings"] == ["It has no colours: it is drawn grey."]
    assert client.get(mesh["links"]["self"]).json() == mesh
    content = client.get(mesh["links"]["content"])
    assert content.headers["content-type"] == "model/gltf-binary"
    assert content.headers["content-disposition"] == 'attachment; filename="tetra.glb"'
    assert len(content.content) == mesh["bytes"]
    etag = content.headers["etag"]
    assert etag == f'"sha256-{mesh["sha256"]}"'
    assert client.get(mesh["links"]["content"], headers={"If-None-Match": etag}).status_code == 304
    assert client.get(mesh["links"]["content"], headers={"Range": "bytes=0-3"}).content == b"glTF"
    assert read_glb(content.content).vertices.shape == (4, 3)


def test_the_same_upload_is_the_same_mesh_and_keeps_its_name(client: TestClient, services: Services) -> None:
    first = sent(client, TETRAHEDRON, name="my tetrahedron")
    assert first["name"] == "my tetrahedron"
    again = send(client, TETRAHEDRON, "other.obj", name="another")
    assert again.status_code == 200
    assert again.json() == first
    assert len(stored_files(services)) == 1
    # Another file with the same surface is another mesh on the same bytes.
    other = sent(client, "# a comment\n" + TETRAHEDRON)
    assert other["id"] != first["id"]
    assert other["sha256"] == first["sha256"]
    assert len(stored_files(services)) == 1


def test_meshes_are_listed_newest_first_page_by_page(client: TestClient) -> None:
    ids = [sent(client, f"# {index}\n" + TETRAHEDRON)["id"] for index in range(3)]
    first = client.get("/v1/meshes", params={"limit": 2})
    page = first.json()
    assert [mesh["id"] for mesh in page["items"]] == ids[:0:-1]
    assert page["has_more"]
    rest = client.get(first.links["next"]["url"]).json()
    assert ([mesh["id"] for mesh in rest["items"]], rest["next_cursor"]) == (ids[:1], None)
    problem(client.get("/v1/meshes", params={"cursor": "nonsense"}), "invalid-cursor", 400)


def test_unknown_meshes_are_not_found(client: TestClient) -> None:
    for mesh_id in ("msh_01k8zd6c2q4x7v9m3n5p8r0s1t", "x", "img_01k8zd6c2q4x7v9m3n5p8r0s1t"):
        for part in ("", "/content"):
            assert "POST /v1/meshes" in problem(client.get(f"/v1/meshes/{mesh_id}{part}"), "not-found", 404)["detail"]


def test_a_texture_keeps_its_places_with_y_down(client: TestClient) -> None:
    mesh = sent(client, textured_zip(), "square.zip")
    assert (mesh["colours"], mesh["warnings"], mesh["is_watertight"]) == ("texture", [], False)
    found = stored(client, mesh)
    assert found.uv is not None
    assert found.texture is not None
    assert np.array_equal(found.texture, np.asarray(picture()))
    expected = np.column_stack([found.vertices[:, 0] / 2, 1 - found.vertices[:, 1] / 2])
    assert np.allclose(found.uv, expected)


def test_what_did_not_come_along_is_named(client: TestClient) -> None:
    bare = sent(client, TEXTURED)
    assert "'square.mtl'" in bare["warnings"][0]
    assert "upload a ZIP" in bare["warnings"][0]
    assert bare["colours"] == "none"
    # Without its texture the colour of the material counts.
    half = sent(client, zipped({"square.obj": TEXTURED, "square.mtl": PAINTED}), "half.zip")
    assert "'square.png'" in half["warnings"][0]
    assert half["colours"] == "vertex"


def test_files_of_a_zip_are_found_whatever_folder_they_lie_in(client: TestClient) -> None:
    files = {
        "thing/model/square.obj": TEXTURED,
        "thing/model/SQUARE.MTL": PAINTED.replace("square.png", "C:\\work\\textures\\Square.png"),
        "thing/textures/square.png": png_of(picture()),
        "__MACOSX/thing/model/._square.obj": b"\x00litter",
        "thing/.DS_Store": b"litter",
    }
    mesh = sent(client, zipped(files), "thing.zip")
    assert (mesh["colours"], mesh["warnings"]) == ("texture", [])


def test_colours_of_materials_become_colours_of_vertices(client: TestClient) -> None:
    obj = "mtllib c.mtl\n" + TETRAHEDRON.replace("f 1 3 2", "usemtl red\nf 1 3 2").replace(
        "f 2 3 4", "usemtl b\nf 2 3 4"
    )
    mtl = "newmtl red\nKd 1 0 0\nnewmtl b\nKd 0 0 0.5\n"
    mesh = sent(client, zipped({"c.obj": obj, "c.mtl": mtl}), "c.zip")
    assert (mesh["colours"], mesh["warnings"]) == ("vertex", [])
    # Three vertices of the border between both colours are doubled.
    assert (mesh["vertices"], mesh["faces"], mesh["is_watertight"]) == (7, 4, True)
    found = stored(client, mesh)
    assert found.colours is not None
    assert sorted({tuple(row) for row in found.colours.tolist()}) == [(0, 0, 128), (255, 0, 0)]


def test_colours_of_vertices_are_kept(client: TestClient) -> None:
    coloured = TETRAHEDRON.replace("v 0 0 0", "v 0 0 0 1 0.5 0").replace("v 1 0 0", "v 1 0 0 0 0 1")
    coloured = coloured.replace("v 0 1 0", "v 0 1 0 0 0 1").replace("v 0 0 1\n", "v 0 0 1 0 0 1\n")
    found = stored(client, sent(client, coloured))
    assert found.colours is not None
    at_origin = found.colours[np.abs(found.vertices).sum(axis=1) == 0]
    assert at_origin.tolist() == [[255, 128, 0]]


def test_several_textures_and_a_plain_colour_are_packed_into_one(client: TestClient) -> None:
    obj = TEXTURED.replace("f 1/1 3/3 4/4", "usemtl green\nf 1/1 3/3 4/4") + (
        "v 0 0 1\nv 1 0 1\nv 0 1 1\nusemtl plain\nf 5 6 7\n"
    )
    mtl = PAINTED + "newmtl green\nmap_Kd green.jpg\nnewmtl plain\nKd 1 1 0\n"
    green = io.BytesIO()
    Image.new("RGB", (16, 16), (0, 200, 0)).save(green, "JPEG", quality=95)
    files = {"a.obj": obj, "square.mtl": mtl, "square.png": png_of(picture()), "green.jpg": green.getvalue()}
    mesh = sent(client, zipped(files), "a.zip")
    assert (mesh["colours"], mesh["faces"], mesh["warnings"]) == ("texture", 3, [])
    found = stored(client, mesh)
    assert found.uv is not None
    assert found.texture is not None
    height, width = found.texture.shape[:2]
    centres = found.uv[found.faces].mean(axis=1) * (width, height)
    shown = found.texture[centres[:, 1].astype(int), centres[:, 0].astype(int)].astype(int)
    for colour in ((0, 0, 255), (0, 200, 0), (255, 255, 0)):
        assert np.abs(shown - colour).max(axis=1).min() < 12


def test_a_texture_that_repeats_is_repeated(client: TestClient) -> None:
    obj = TEXTURED.replace("vt 1 0", "vt 3 0").replace("vt 1 1", "vt 3 2").replace("vt 0 1", "vt 0 2")
    files = {"a.obj": obj, "square.mtl": PAINTED, "square.png": png_of(picture())}
    found = stored(client, sent(client, zipped(files), "a.zip"))
    assert found.texture is not None
    assert found.uv is not None
    assert np.array_equal(found.texture, np.tile(np.asarray(picture()), (2, 3, 1)))
    assert found.uv.min() >= 0
    assert found.uv.max() <= 1


def test_nodes_of_a_scene_place_their_meshes(client: TestClient) -> None:
    nodes = [
        {"children": [1, 2], "translation": [10, 0, 0]},
        {"mesh": 0, "scale": [2, 2, 2]},
        {"mesh": 0, "scale": [-1, 1, 1], "translation": [0, 0, 5]},
    ]
    mesh = sent(client, triangle_glb(nodes=nodes), "scene.glb")
    assert (mesh["faces"], mesh["bounds"]) == (2, [[9, 0, 0], [12, 2, 5]])
    found = stored(client, mesh)
    corners = found.vertices[found.faces].astype(float)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    # What is mirrored is turned round, so that both still face +z.
    assert (normals[:, 2] > 0).all()


def test_linear_colours_of_a_glb_become_srgb(client: TestClient) -> None:
    materials = [{"pbrMetallicRoughness": {"baseColorFactor": [0.2140411, 1, 0, 1]}}]
    meshes = [{"primitives": [{"attributes": {"POSITION": 0}, "material": 0}]}]
    found = stored(client, sent(client, triangle_glb(materials=materials, meshes=meshes), "a.glb"))
    assert found.colours is not None
    assert np.abs(found.colours.astype(int) - (128, 255, 0)).max() <= 1


def test_a_stored_mesh_can_be_uploaded_again(client: TestClient) -> None:
    first = sent(client, textured_zip(), "square.zip")
    again = sent(client, client.get(first["links"]["content"]).content, "square.glb")
    assert {**again, **dict.fromkeys(("id", "name", "links", "created_at"))} == {
        **first,
        **dict.fromkeys(("id", "name", "links", "created_at")),
    }


def test_a_mesh_of_many_faces_is_simplified_and_says_so(client: TestClient) -> None:
    mesh = sent(client, grid_obj(20), "wavy.obj")
    assert mesh["uploaded_faces"] == 800
    assert 100 < mesh["faces"] <= MAX_FACES
    assert mesh["warnings"][0] == f"It was simplified from 800 to at most {MAX_FACES} faces."
    assert np.allclose(mesh["bounds"], [[0, 0, -0.1], [1, 1, 0.1]], atol=0.03)


def test_faces_without_area_are_dropped_with_a_warning(client: TestClient) -> None:
    mesh = sent(client, TETRAHEDRON + "f 1 1 2\nf 1 2 2\n")
    assert (mesh["faces"], mesh["uploaded_faces"]) == (4, 6)
    assert mesh["warnings"][0] == "2 faces without area were dropped."


@pytest.mark.parametrize("content", [ply(), ply(body="0 0 0\r\n1 0 0\r\n0 1 0\r\n3 0 1 2\r\n")])
def test_text_ply_is_read(client: TestClient, content: bytes) -> None:
    mesh = sent(client, content, "scan.ply")
    assert (mesh["vertices"], mesh["faces"]) == (3, 1)


def test_the_content_tells_what_a_file_is_where_its_name_says_nothing(client: TestClient) -> None:
    assert sent(client, TETRAHEDRON, "download")["faces"] == 4
    assert sent(client, triangle_glb(), "model.bin")["faces"] == 1


def test_a_file_above_the_limit_is_refused_while_it_arrives(client: TestClient, services: Services) -> None:
    padded = TETRAHEDRON + "#" * (MAX_BYTES - len(TETRAHEDRON))
    assert sent(client, padded)["faces"] == 4
    body = problem(send(client, padded + "#", "big.obj"), "mesh-too-large", 413)
    assert pointers(body) == ["/mesh/0"]
    assert f"'big.obj' has more than {MAX_BYTES} bytes, the limit for one mesh; simplify it" in body["detail"]
    assert len(stored_files(services)) == 1


def test_forms_without_exactly_one_mesh_are_refused(client: TestClient) -> None:
    two = client.post("/v1/meshes", files=[("mesh", ("a.obj", TETRAHEDRON)), ("mesh", ("b.obj", TETRAHEDRON))])
    assert "it has 2" in problem(two, "malformed-body", 400)["detail"]
    none = client.post("/v1/meshes", files={"name": (None, "thing")})
    assert "it has 0" in problem(none, "malformed-body", 400)["detail"]
    other = client.post("/v1/meshes", files={"file": ("a.obj", TETRAHEDRON)})
    assert "known are: mesh, name" in problem(other, "malformed-body", 400)["detail"]
    problem(client.post("/v1/meshes", json={"mesh": "x"}), "unsupported-media-type", 415)
    named = problem(send(client, TETRAHEDRON, name="x" * 201), "malformed-body", 400)
    assert pointers(named) == ["/name"]
