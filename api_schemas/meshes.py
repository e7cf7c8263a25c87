"""Uploaded meshes."""

from typing import Annotated, Literal

from pydantic import Field

from api_schemas.base import ULID_PATTERN, Schema, Sha256, Timestamp

MeshId = Annotated[str, Field(pattern=rf"^msh_{ULID_PATTERN}$", examples=["msh_01k8zd6c2q4x7v9m3n5p8r0s1t"])]
MeshColours = Literal["texture", "vertex", "none"]
Place = tuple[float, float, float]


class MeshLinks(Schema):
    """Where a mesh's own addresses are."""

    self: str
    content: str


class Mesh(Schema):
    """An uploaded mesh: joined into one surface, cleaned, stored as GLB by content, in the file's units and axes."""

    id: MeshId
    object: Literal["mesh"] = "mesh"
    name: str = Field(description="The given name, or that of the uploaded file; a label only.")
    vertices: int = Field(ge=1, description="Of the stored mesh; those of differing texture places count apart.")
    faces: int = Field(ge=1, description="Triangles of the stored mesh.")
    uploaded_faces: int = Field(ge=1, description="Triangles of the uploaded file; more than `faces` if simplified.")
    colours: MeshColours = Field(description="How the surface is coloured; `none` is drawn grey.")
    is_watertight: bool = Field(description="Whether every edge lies between exactly two faces.")
    bounds: tuple[Place, Place] = Field(description="Least and greatest x, y, z.")
    bytes: int = Field(ge=1, description="Size of the stored GLB.")
    sha256: Sha256
    warnings: list[str] = Field(description="What was changed or is missing, as sentences.")
    created_at: Timestamp
    links: MeshLinks
