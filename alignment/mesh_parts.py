"""Parts of a scene as its file has them: each with one material, placed in the scene."""

import io
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import trimesh
from PIL import Image

from alignment.mesh_archives import PICTURE_FORMATS, Companions
from alignment.mesh_limits import MeshFault, MeshFileError, MeshLimits

UInt8 = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
_WHITE: Final = np.full(3, 255, dtype=np.uint8)


@dataclass(frozen=True)
class Part:
    """V vertices and F triangles of one material; at most one of the three kinds of colour is known."""

    vertices: Float
    """(V, 3)."""
    faces: Int
    """(F, 3)."""
    uv: Float | None = None
    """(V, 2) places on the texture, y down; its picture repeats beyond [0, 1]."""
    texture: UInt8 | None = None
    """(H, W, 3) sRGB; parts of one material share the array."""
    colours: UInt8 | None = None
    """(V, 3) sRGB."""
    flat: UInt8 | None = None
    """(3,) sRGB, of the whole part."""


def read_scene(content: bytes, kind: str, companions: Companions) -> trimesh.Scene:
    """Read a checked file; nothing but `companions` is asked for others.

    Raises:
        MeshFileError: it is damaged.
    """
    try:
        scene = trimesh.load_scene(
            io.BytesIO(content), file_type=kind, resolver=companions, allow_remote=False, process=False
        )
    # The reader has no error of its own: damaged files make it raise whatever they lead to.
    except Exception as error:
        if companions.refused:
            raise companions.refused from error
        reason = f"{type(error).__name__}: {error}"[:200]
        detail = f"the {kind.upper()} cannot be read, it is cut short or damaged ({reason}); export it again"
        raise MeshFileError(MeshFault.DAMAGED, "damaged", detail) from error
    if companions.refused:
        raise companions.refused
    return scene


def parts_of(scene: trimesh.Scene, limits: MeshLimits, *, is_gltf: bool) -> list[Part]:
    """Return the surfaces of a scene, each where its node puts it.

    Args:
        scene: as it was read; that of a GLB has a material on every part.
        limits: for the textures.
        is_gltf: whether colours beside textures are linear, as in glTF, instead of sRGB.

    Raises:
        MeshFileError: faces point at missing vertices, or a texture is damaged.
    """
    appearances: dict[str, Part] = {}
    textures = _Textures(limits)
    parts = []
    for node in scene.graph.nodes_geometry:
        matrix, found = scene.graph[node]
        name = str(found)
        geometry = scene.geometry[name]
        if not isinstance(geometry, trimesh.Trimesh) or len(geometry.faces) == 0:
            continue
        if name not in appearances:
            appearances[name] = _dressed(geometry, textures, is_gltf=is_gltf)
        parts.append(_placed(appearances[name], np.asarray(matrix, dtype=np.float64)))
    return parts


def _placed(part: Part, matrix: Float) -> Part:
    with np.errstate(all="ignore"):
        vertices = part.vertices @ matrix[:3, :3].T + matrix[:3, 3]
        is_mirrored = np.linalg.det(matrix[:3, :3]) < 0
    faces = part.faces[:, ::-1] if is_mirrored else part.faces
    return Part(vertices, faces, part.uv, part.texture, part.colours, part.flat)


def _dressed(geometry: trimesh.Trimesh, textures: "_Textures", *, is_gltf: bool) -> Part:
    vertices = np.asarray(geometry.vertices, dtype=np.float64)
    faces = np.asarray(geometry.faces, dtype=np.int64)
    if faces.min() < 0 or faces.max() >= len(vertices):
        bad = int(faces.max() if faces.max() >= len(vertices) else faces.min())
        detail = f"a face names vertex {bad}, counted from 0, and there are {len(vertices)}; export it again"
        raise MeshFileError(MeshFault.DAMAGED, "missing-vertex", detail)
    visual: Any = geometry.visual
    if visual.kind == "texture":
        return _of_material(vertices, faces, visual, textures, is_gltf=is_gltf)
    if visual.kind == "vertex":
        return Part(vertices, faces, colours=_three(visual.vertex_colors))
    if visual.kind == "face":
        corners = faces.reshape(-1)
        split = np.arange(len(corners)).reshape(-1, 3)
        return Part(vertices[corners], split, colours=np.repeat(_three(visual.face_colors), 3, axis=0))
    return Part(vertices, faces)


def _of_material(vertices: Float, faces: Int, visual: Any, textures: "_Textures", *, is_gltf: bool) -> Part:
    factor = _factor(visual.material)
    picture = _picture(visual.material)
    if picture is not None and visual.uv is not None and len(visual.uv) == len(vertices):
        uv = np.asarray(visual.uv, dtype=np.float64)[:, :2] * (1, -1) + (0, 1)
        # In MTL files the colour beside a texture is often black or unset, so there the picture speaks alone.
        tint = factor if is_gltf and factor is not None else _WHITE
        return Part(vertices, faces, uv=uv, texture=textures.read(picture, tint))
    colours = visual.vertex_attributes.get("color", None)
    if colours is not None:
        return Part(vertices, faces, colours=_to_srgb(_unit(colours) * _unit(_WHITE if factor is None else factor)))
    if factor is None:
        return Part(vertices, faces)
    return Part(vertices, faces, flat=_to_srgb(_unit(factor)) if is_gltf else factor)


def _picture(material: Any) -> Image.Image | None:
    """Return a material's texture; one that the reader made up, which has no file format, is none."""
    is_gltf = isinstance(material, trimesh.visual.material.PBRMaterial)
    picture = material.baseColorTexture if is_gltf else getattr(material, "image", None)
    return picture if isinstance(picture, Image.Image) and picture.format is not None else None


def _factor(material: Any) -> UInt8 | None:
    """Return the colour (3,) that a material names, None where it names none."""
    if isinstance(material, trimesh.visual.material.PBRMaterial):
        given = material.baseColorFactor
        return None if given is None else np.asarray(given, dtype=np.uint8)[:3]
    if isinstance(material, trimesh.visual.material.SimpleMaterial) and "kd" in material.kwargs:
        return np.asarray(material.diffuse, dtype=np.uint8)[:3]
    return None


def _three(colours: Any) -> UInt8:
    return np.asarray(trimesh.visual.color.to_rgba(np.array(colours)), dtype=np.uint8)[:, :3]


def _unit(colours: npt.NDArray[Any]) -> Float:
    """Return three channels of colours (..., 3 or 4) in [0, 1], whole numbers as shares of their type's greatest."""
    rgb = np.asarray(colours)[..., :3]
    whole = np.iinfo(rgb.dtype).max if rgb.dtype.kind == "u" else 1
    return np.nan_to_num(np.clip(rgb.astype(np.float64) / whole, 0, 1))


def _to_srgb(linear: Float) -> UInt8:
    """Encode linear colours in [0, 1] (IEC 61966-2-1)."""
    encoded: Float = np.where(
        linear <= 0.0031308, linear * 12.92, 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    )
    in_bytes: UInt8 = np.rint(encoded * 255).astype(np.uint8)
    return in_bytes


def _to_linear(colours: UInt8) -> Float:
    encoded = colours.astype(np.float64) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


class _Textures:
    """Decodes each texture of a scene once."""

    def __init__(self, limits: MeshLimits) -> None:
        self._limits = limits
        self._read: dict[tuple[int, bytes], UInt8] = {}
        # Their addresses are keys, so they must not be given back.
        self._pictures: list[Image.Image] = []

    def read(self, picture: Image.Image, tint: UInt8) -> UInt8:
        """Return a picture as (H, W, 3), multiplied by a colour (3,); one array for the same question.

        Raises:
            MeshFileError: it is damaged.
        """
        key = id(picture), tint.tobytes()
        if key not in self._read:
            self._pictures.append(picture)
            self._read[key] = self._decode(picture, tint)
        return self._read[key]

    def _decode(self, picture: Image.Image, tint: UInt8) -> UInt8:
        side = self._limits.texture_side
        if picture.format not in PICTURE_FORMATS or picture.width * picture.height > self._limits.picture_pixels:
            raise _bad_texture(f"{picture.format} of {picture.width} x {picture.height} pixels")
        try:
            rgb = picture.convert("RGB")
        # Decoders of damaged data have no error of their own.
        except Exception as error:
            raise _bad_texture(error) from error
        if max(rgb.size) > side:
            rgb.thumbnail((side, side), Image.Resampling.LANCZOS)
        pixels = np.asarray(rgb)
        if (tint == _WHITE).all():
            return pixels
        tables = [_to_srgb(_to_linear(np.arange(256, dtype=np.uint8)) * float(channel) / 255) for channel in tint]
        return np.stack([table[pixels[..., index]] for index, table in enumerate(tables)], axis=-1)


def _bad_texture(reason: object) -> MeshFileError:
    detail = f"a texture is damaged or cannot be read ({reason}); save it as PNG or JPEG"
    return MeshFileError(MeshFault.DAMAGED, "bad-texture", detail)
