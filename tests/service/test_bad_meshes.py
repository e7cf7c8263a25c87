"""Mesh files that are not taken: each is refused with what is wrong and how to mend it, and nothing is stored."""

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.service.meshes import (
    TETRAHEDRON,
    TEXTURED,
    glb,
    picture,
    ply,
    png_of,
    textured_zip,
    triangle_document,
    triangle_glb,
    zipped,
)
from tests.service.requests import pointers, problem
from tests.service.shared import services_of, small_app

MAX_BYTES = 300_000
MAX_FACES = 200
LIMITS = {
    "max_mesh_bytes": MAX_BYTES,
    "max_mesh_faces": MAX_FACES,
    "max_image_pixels": 200 * 200,
    "max_image_side": 300,
}
NOT_FINITE = TETRAHEDRON.replace("v 0 0 1", "v 0 0 {}")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[TestClient]:
    """A client of one API for all refusals, which leave nothing behind."""
    with TestClient(small_app(tmp_path_factory.mktemp("data"), sqlite_template, **LIMITS)) as opened:
        yield opened


@pytest.fixture
def fresh_client(tmp_path: Path, sqlite_template: Path) -> Iterator[TestClient]:
    """A client of an API of its own."""
    with TestClient(small_app(tmp_path, sqlite_template, **LIMITS)) as opened:
        yield opened


def refused(client: TestClient, content: str | bytes, name: str, code: str) -> dict[str, Any]:
    answer = client.post("/v1/meshes", files={"mesh": (name, content)})
    body = problem(answer, code, 413 if code == "mesh-too-large" else 422)
    assert pointers(body) == ["/mesh/0"]
    assert repr(name) in body["detail"]
    assert ";" in body["detail"], "a refusal says how to mend it"
    settings = services_of(client).settings
    folders = (settings.blobs_dir / "meshes", settings.uploads_dir)
    assert [path for folder in folders for path in folder.rglob("*") if path.is_file()] == []
    return body


@pytest.mark.parametrize(
    ("content", "name", "complaint"),
    [
        (b"hello, I am no mesh", "notes.glb", "its name ends in .glb, but its content is none of"),
        (b"", "empty.obj", "its content is none of"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "picture", "its content is none of"),
        (TETRAHEDRON, "tetra.glb", "its name ends in .glb, but its content is OBJ"),
        (triangle_glb(), "tetra.ply", "its content is GLB"),
        (
            b'{"asset": {"version": "2.0"}, "buffers": [{"uri": "a.bin"}]}',
            "scene.gltf",
            "one GLB that holds everything",
        ),
        (triangle_glb(buffers=[{"byteLength": 36, "uri": "http://example.org/a.bin"}]), "a.glb", "another file"),
        (triangle_glb(images=[{"uri": "../../etc/passwd"}]), "a.glb", "another file"),
        (triangle_glb(extensionsRequired=["KHR_draco_mesh_compression"]), "a.glb", "KHR_draco_mesh_compression"),
        (zipped({"readme.txt": "hello"}), "a.zip", "it holds none"),
        (zipped({"a.obj": TETRAHEDRON, "b.obj": TETRAHEDRON}), "a.zip", "it holds 2: a.obj, b.obj"),
        (zipped({"a.obj": "hello"}), "a.zip", "its content is none of"),
        (zipped({"../a.obj": TETRAHEDRON}), "a.zip", "lies outside it"),
        (zipped({"/a.obj": TETRAHEDRON}), "a.zip", "lies outside it"),
        (zipped({"C:\\a.obj": TETRAHEDRON}), "a.zip", "lies outside it"),
        (zipped({"a.obj": TETRAHEDRON}).replace(b"\x14\x00\x00\x00", b"\x14\x00\x01\x00"), "a.zip", "password"),
        (TETRAHEDRON.replace("f 2 3 4", "f -3 -2 -1\nv 9 9 9"), "a.obj", "count backwards"),
    ],
)
def test_what_is_no_mesh_that_is_read_is_refused(
    client: TestClient, content: str | bytes, name: str, complaint: str
) -> None:
    assert complaint in refused(client, content, name, "unsupported-mesh")["detail"]


def overlapping_views() -> bytes:
    """A GLB whose two hundred views each name all of its bytes."""
    document, _ = triangle_document(bufferViews=[{"buffer": 0, "byteLength": 20_000}] * 200)
    return glb(document, bytes(20_000))


@pytest.mark.parametrize(
    ("content", "name", "complaint"),
    [
        (triangle_glb()[:-20], "cut.glb", "should have"),
        (triangle_glb()[:15], "cut.glb", "ends within its header"),
        (glb(b"{"), "a.glb", "is not JSON"),
        (glb(b'{"a":' * 5000 + b"1" + b"}" * 5000), "deep.glb", "is not JSON"),
        (glb(b"[1, 2]"), "a.glb", "not a JSON object"),
        (glb({"nodes": [{"children": [0]}]}), "a.glb", "stand in each other"),
        (glb({"nodes": [{"children": [2]}, {"children": [2]}, {}]}), "a.glb", "no trees"),
        (glb({"nodes": 7}), "a.glb", "contradicts itself"),
        (triangle_glb(accessors=[{"componentType": 5126, "count": 10**9, "type": "VEC3"}]), "a.glb", "accessors name"),
        (overlapping_views(), "a.glb", "views name"),
        (triangle_glb(bufferViews=[{"buffer": 0, "byteLength": 999}]), "a.glb", "cannot be read"),
        (ply(vertices=10**9), "a.ply", "promises"),
        (ply(faces=2), "a.ply", "promises"),
        (ply(vertices=-3), "a.ply", "no number"),
        (ply().replace(b"end_header", b""), "a.ply", "end_header"),
        (ply(body="0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n"), "a.ply", "vertex 3"),
        (ply().replace(b"ascii", b"binary_little_endian"), "a.ply", "cannot be read"),
        (TETRAHEDRON.replace("f 2 3 4", "f 2 3 999999999999"), "a.obj", "cannot be read"),
        (TETRAHEDRON.replace("f 2 3 4", "f 2 3 5"), "a.obj", "cannot be read"),
        (TETRAHEDRON.replace("f 2 3 4", "f 0 1 2"), "a.obj", "counts from 1"),
        (NOT_FINITE.format("nan"), "a.obj", "1 of its vertices are not finite"),
        (NOT_FINITE.format("inf"), "a.obj", "not finite"),
        (NOT_FINITE.format("1e60"), "a.obj", "not finite"),
        (textured_zip(**{"square.obj": TEXTURED.replace("vt 1 1", "vt nan 1")}), "a.zip", "texture coordinates"),
        (textured_zip()[:-30], "a.zip", "cut short or damaged"),
        (textured_zip(**{"square.png": png_of(picture((64, 64)))[:90]}), "a.zip", "texture is damaged"),
    ],
)
def test_a_damaged_mesh_is_refused(client: TestClient, content: str | bytes, name: str, complaint: str) -> None:
    assert complaint in refused(client, content, name, "mesh-damaged")["detail"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (TETRAHEDRON.partition("f")[0], "no faces"),
        ("v 0 0 0\nv 1 1 1\nv 2 2 2\nf 1 2 3\n", "none of its 1 faces has any area"),
        ("v 5 5 5\nv 5 5 5\nv 5 5 5\nf 1 2 3\n", "none of its 1 faces has any area"),
    ],
)
def test_a_mesh_without_surface_is_refused(client: TestClient, content: str, complaint: str) -> None:
    assert complaint in refused(client, content, "a.obj", "mesh-empty")["detail"]


def bomb(pixels: int) -> bytes:
    """A PNG whose header declares a square of so many pixels a side."""
    content = bytearray(png_of(picture()))
    content[16:24] = struct.pack(">2I", pixels, pixels)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def loose_triangles(count: int) -> str:
    """Triangles that share no vertex, far apart: nothing can be collapsed."""
    lines = []
    for index in range(count):
        lines += [f"v {10 * index} 0 0", f"v {10 * index + 1} 0 0", f"v {10 * index} 1 0"]
    return "\n".join([*lines, *(f"f {3 * index + 1} {3 * index + 2} {3 * index + 3}" for index in range(count))])


def many_copies() -> bytes:
    """A GLB whose nodes repeat one mesh of 1000 faces two thousand and one times."""
    indices = np.zeros(3000, dtype="<u2").tobytes()
    document, places = triangle_document()
    document["accessors"].append({"bufferView": 1, "componentType": 5123, "count": 3000, "type": "SCALAR"})
    document["bufferViews"].append({"buffer": 0, "byteOffset": len(places), "byteLength": len(indices)})
    document["buffers"] = [{"byteLength": len(places) + len(indices)}]
    document["meshes"][0]["primitives"][0]["indices"] = 1
    document |= {"nodes": [{"mesh": 0}] * 2001, "scenes": [{"nodes": list(range(2001))}]}
    return glb(document, places + indices)


@pytest.mark.parametrize(
    ("content", "name", "complaint"),
    [
        (textured_zip(**{"square.png": png_of(picture((201, 200)))}), "a.zip", "201 x 200 pixels"),
        (textured_zip(**{"square.png": png_of(picture((301, 2)))}), "a.zip", "301 x 2 pixels"),
        (textured_zip(**{f"{index}.txt": b"x" for index in range(62)}), "a.zip", "65 files, the limit is 64"),
        (textured_zip(**{"zeros.bin": b"\0" * (4 * MAX_BYTES)}), "a.zip", "unpacked"),
        (textured_zip(**{"square.png": bomb(50_000)}), "a.zip", "too many pixels"),
        (loose_triangles(600), "a.obj", "cannot be simplified from 600 faces to 200"),
        ("v 0 0 0\n" + "".join(f"usemtl {n}\nf 1 1 1\n" for n in range(2001)), "a.obj", "2001 materials, the limit"),
        (many_copies(), "a.glb", "faces, the limit is 2000000"),
    ],
)
def test_a_mesh_that_is_too_large_is_refused(
    client: TestClient, content: str | bytes, name: str, complaint: str
) -> None:
    assert complaint in refused(client, content, name, "mesh-too-large")["detail"]


def test_cut_and_garbled_files_never_break_the_service(fresh_client: TestClient) -> None:
    """Whatever bytes come, the answer is a mesh or a problem that says what is wrong."""
    generator = np.random.default_rng(3)
    whole = {"a.zip": textured_zip(), "a.glb": triangle_glb(), "a.ply": ply(), "a.obj": TETRAHEDRON.encode()}
    for name, content in whole.items():
        for _ in range(12):
            cut = content[: generator.integers(1, len(content))]
            garbled = bytearray(content)
            for place in generator.integers(0, len(content), 4):
                garbled[place] = generator.integers(0, 256)
            for broken in (cut, bytes(garbled)):
                answer = fresh_client.post("/v1/meshes", files={"mesh": (name, broken)})
                assert answer.status_code in (200, 201, 413, 422), answer.text
                if answer.status_code > 201:
                    assert answer.json()["code"] in ("unsupported-mesh", "mesh-damaged", "mesh-empty", "mesh-too-large")
