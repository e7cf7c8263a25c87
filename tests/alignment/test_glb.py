"""Meshes as GLB, and that another reader understands them."""

import io
import json
import struct
from typing import Any

import numpy as np
import pytest
import trimesh

from alignment.glb import read_glb, write_glb
from alignment.mesh import GREY, Mesh
from tests.alignment.shapes import RADIUS, ball_mesh

TEXTURED = ball_mesh()
GREY_MESH = Mesh(TEXTURED.vertices, TEXTURED.faces)
RAMP = np.arange(len(TEXTURED.vertices) * 3, dtype=np.int64).reshape(-1, 3)
COLOURED = Mesh(TEXTURED.vertices, TEXTURED.faces, colours=(RAMP * 7 % 256).astype(np.uint8))


def document_of(content: bytes) -> dict[str, Any]:
    (length,) = struct.unpack_from("<I", content, 12)
    document: dict[str, Any] = json.loads(content[20 : 20 + length])
    return document


def attribute(content: bytes, name: str, dtype: str) -> Any:
    """Numbers of a vertex attribute, one after the other."""
    document = document_of(content)
    index = document["meshes"][0]["primitives"][0]["attributes"][name]
    view = document["bufferViews"][document["accessors"][index]["bufferView"]]
    start = 28 + struct.unpack_from("<I", content, 12)[0] + view["byteOffset"]
    return np.frombuffer(content[start : start + view["byteLength"]], dtype)


def read_by_trimesh(content: bytes) -> Any:
    return trimesh.load(io.BytesIO(content), file_type="glb", process=False, force="mesh")


@pytest.mark.parametrize("mesh", [TEXTURED, COLOURED, GREY_MESH], ids=["textured", "coloured", "grey"])
def test_a_mesh_comes_back_bit_by_bit(mesh: Mesh) -> None:
    again = read_glb(write_glb(mesh))
    for name in ("vertices", "faces", "colours", "uv", "texture"):
        before, after = getattr(mesh, name), getattr(again, name)
        assert (before is None) == (after is None)
        if before is not None:
            np.testing.assert_array_equal(after, before)
            assert after.dtype == before.dtype


def test_all_levels_of_colour_are_told_apart() -> None:
    assert set(COLOURED.colours.ravel().tolist()) == set(range(256))  # type: ignore[union-attr]


def test_equal_meshes_have_equal_bytes() -> None:
    assert write_glb(ball_mesh()) == write_glb(ball_mesh())
    assert write_glb(ball_mesh(8, 16)) != write_glb(ball_mesh())


def test_chunks_and_parts_lie_where_gltf_wants_them() -> None:
    content = write_glb(TEXTURED)
    magic, version, total = struct.unpack_from("<4sII", content)
    assert (magic, version, total) == (b"glTF", 2, len(content))
    (length,) = struct.unpack_from("<I", content, 12)
    binary_length, kind = struct.unpack_from("<I4s", content, 20 + length)
    assert (length % 4, binary_length % 4, kind) == (0, 0, b"BIN\0")
    document = document_of(content)
    assert document["buffers"][0]["byteLength"] <= binary_length
    assert all(view["byteOffset"] % 4 == 0 for view in document["bufferViews"])
    position = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    assert position["max"] == pytest.approx([RADIUS] * 3)
    assert position["min"] == pytest.approx([-RADIUS] * 3)


def test_another_reader_sees_the_same_surface_and_texture() -> None:
    read = read_by_trimesh(write_glb(TEXTURED))
    np.testing.assert_array_equal(read.vertices, TEXTURED.vertices)
    np.testing.assert_array_equal(read.faces, TEXTURED.faces)
    assert TEXTURED.uv is not None
    # trimesh counts v upwards.
    np.testing.assert_allclose(read.visual.uv, np.column_stack([TEXTURED.uv[:, 0], 1 - TEXTURED.uv[:, 1]]), atol=1e-6)
    picture = np.asarray(read.visual.material.baseColorTexture.convert("RGB"))
    np.testing.assert_array_equal(picture, TEXTURED.texture)


def test_vertex_colours_are_linear_and_opaque() -> None:
    content = write_glb(COLOURED)
    assert COLOURED.colours is not None
    share = COLOURED.colours / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    stored = attribute(content, "COLOR_0", "<u2").reshape(-1, 4) / 65535
    assert np.abs(stored[:, :3] - linear).max() <= 0.5 / 65535
    assert (stored[:, 3] == 1).all()
    document = document_of(content)
    described = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    assert (described["componentType"], described["normalized"], described["type"]) == (5123, True, "VEC4")


def test_normals_point_outwards_across_the_seam_too() -> None:
    stored = attribute(write_glb(TEXTURED), "NORMAL", "<f4").reshape(-1, 3)
    assert np.einsum("vc,vc->v", stored, TEXTURED.vertices / RADIUS).min() > 0.99
    assert np.linalg.norm(stored, axis=1) == pytest.approx(1, abs=1e-6)


def test_a_mesh_without_colour_is_grey() -> None:
    material = document_of(write_glb(GREY_MESH))["materials"][0]["pbrMetallicRoughness"]
    assert material["baseColorFactor"] == pytest.approx([((GREY / 255 + 0.055) / 1.055) ** 2.4] * 3 + [1], abs=1e-3)
    assert material["metallicFactor"] == 0


def test_what_is_no_glb_of_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="not a GLB"):
        read_glb(b"solid ball")
    with pytest.raises(ValueError, match="ends early"):
        read_glb(write_glb(TEXTURED)[:-100])
    other = trimesh.Trimesh(TEXTURED.vertices, TEXTURED.faces, process=False).export(file_type="glb")
    with pytest.raises(ValueError, match="made elsewhere"):
        read_glb(other)
