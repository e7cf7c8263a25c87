"""The manifest of a finished job: every artifact with what it holds and how to read it."""

from enum import StrEnum
from typing import Literal

from pydantic import Field, JsonValue

from api_schemas.base import ImageId, JobId, Schema, Sha256, Timestamp

ARTIFACT_NAME = r"^[a-z0-9_]+(/[a-z0-9_]+)*(\.[a-z0-9]+)?$"


class ResultForm(StrEnum):
    """The shape of a result; queries work on the form, never on the method."""

    ATLAS = "atlas"
    PAIRWISE_MAPS = "pairwise_maps"
    SHAPE = "shape"


class ArtifactKind(StrEnum):
    """What an artifact is."""

    MAP_TO_CANONICAL = "map_to_canonical"
    MAP_FROM_CANONICAL = "map_from_canonical"
    PAIR_MAPS = "pair_maps"
    PAIR_POINTS = "pair_points"
    ATLAS_RGB = "atlas_rgb"
    ATLAS_SALIENCY = "atlas_saliency"
    ATLAS_FEATURES = "atlas_features"
    ATLAS_PCA = "atlas_pca"
    CONGEALED_IMAGE = "congealed_image"
    CONGEALED_MASK = "congealed_mask"
    CONGEALED_PCA = "congealed_pca"
    IMAGE_SALIENCY = "image_saliency"
    RESIDUAL_FLOW = "residual_flow"
    CANONICAL_GRID = "canonical_grid"
    CANONICAL_COLOURS = "canonical_colours"
    PARTS = "parts"
    PART_FEATURES = "part_features"
    MATCHES = "matches"
    MATCH_EVIDENCE = "match_evidence"
    MIRRORED_MAPS = "mirrored_maps"
    PAIR_SUMMARY = "pair_summary"
    IMD_MATRIX = "imd_matrix"
    KEYPOINT_TRANSFER = "keypoint_transfer"
    POSE_PREDICTION = "pose_prediction"
    PCK_REPORT = "pck_report"
    POINTS = "points"
    HEAT_MAPS = "heat_maps"
    EMBEDDINGS = "embeddings"
    EMBEDDINGS_INFO = "embeddings_info"
    ADAPTER = "adapter"
    ADAPTER_CONFIG = "adapter_config"
    MESH = "mesh"
    TEXELS = "texels"
    TEXTURE = "texture"
    CAMERAS = "cameras"
    FIELD = "field"
    TURNTABLE = "turntable"
    OVERLAY = "overlay"
    CANONICAL_COORDINATES = "canonical_coordinates"
    POSES = "poses"
    SHAPE_REPORT = "shape_report"
    COLMAP = "colmap"
    CONTACT_SHEET = "contact_sheet"
    TRANSFORMS = "transforms"
    TRAINING_CURVE = "training_curve"
    SELF_CHECK = "self_check"


class Tensor(Schema):
    """One array inside a safetensors artifact."""

    name: str
    dtype: str
    shape: list[int]
    axes: list[str] = Field(description="Meaning of each axis, for example ['y', 'x', 'xy'].")
    frame: str = Field(description="Coordinate frame or unit of the values.")
    missing: str | None = Field(
        default=None,
        description="What NaN stands for where there may be any: the finite values are the validity mask.",
    )


class ArtifactDraft(Schema):
    """What the maker of an artifact knows about it: everything but its bytes."""

    name: str = Field(pattern=ARTIFACT_NAME, max_length=120)
    kind: ArtifactKind
    media_type: str
    images: list[int] = Field(default_factory=list, description="Indices of the images it belongs to.")
    tensors: list[Tensor] = Field(default_factory=list)


class Artifact(ArtifactDraft):
    """A stored file of a job."""

    bytes: int = Field(ge=0)
    sha256: Sha256
    href: str | None = Field(default=None, description="Where to fetch it; null in the stored manifest.")


class ManifestImage(Schema):
    """An input image in the order of the set."""

    index: int = Field(ge=0)
    id: ImageId
    sha256: Sha256
    name: str
    width: int
    height: int


class ManifestMethod(Schema):
    """Which code made the result."""

    id: str
    version: str


class Conventions(Schema):
    """How to read every coordinate in the artifacts."""

    pixels: str = "(x, y), origin at the top-left corner, pixel centres at +0.5, of the upload after EXIF orientation"
    canonical: str = "the 2D atlas, and the texture of a shape, is [0, 1] x [0, 1], x right, y down"
    maps: str = (
        "a map array (h, w, 2), or (h, w, 3) into space, covers its whole image, atlas or texture with h x w equal "
        "cells and holds the value at the centre of each; NaN where there is none"
    )
    space: str = "the 3D frame is right-handed, y up (glTF's axes), the object within [-0.5, 0.5]^3"
    cameras: str = (
        "camera_to_world is 4x4 with OpenGL axes (x right, y up, looking along -z), world_to_camera 4x4 with OpenCV "
        "axes (x right, y down, looking along +z); matrices stand row by row and multiply columns; fov_deg is the "
        "vertical field of view; intrinsics is 3x3 in pixels of the upload, pixels are square and the axis goes "
        "through the image's centre"
    )


class Environment(Schema):
    """What the result was computed with."""

    python: str
    torch: str
    device: str
    congeal: str


class Manifest(Schema):
    """`manifest.json` of a result folder."""

    schema_: Literal["congeal/manifest/1"] = Field(default="congeal/manifest/1", alias="schema")
    job_id: JobId
    form: ResultForm
    method: ManifestMethod
    backbone: str
    backbone_identity: str | None = Field(
        default=None,
        description="Name, options, digest of the weights and precision: equal ones describe a picture alike.",
    )
    params: dict[str, JsonValue]
    seed: int
    created_at: Timestamp
    environment: Environment
    conventions: Conventions = Conventions()
    images: list[ManifestImage]
    artifacts: list[Artifact]
    self_check: dict[str, JsonValue]
