"""What the manifest says of the pictures and tensors that methods give by name."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from alignment.tensor_files import SAFETENSORS_MEDIA_TYPE
from api_schemas.manifest import ArtifactKind


@dataclass(frozen=True)
class StoredTensor:
    """How a tensor is stored and described.

    Attributes:
        kind: of the artifact.
        axes: meaning of each axis.
        frame: coordinate frame or unit of the values.
        dtype: half precision where it does no harm.
    """

    kind: ArtifactKind
    axes: tuple[str, ...]
    frame: str
    dtype: npt.DTypeLike


@dataclass(frozen=True)
class StoredFile:
    """What a file is that a method gives as bytes, and its media type."""

    kind: ArtifactKind
    media_type: str


_PICTURES = {
    "pictures/atlas_saliency": ArtifactKind.ATLAS_SALIENCY,
    "pictures/atlas_pca": ArtifactKind.ATLAS_PCA,
    "pictures/atlas_pca_first": ArtifactKind.ATLAS_PCA,
    "pictures/texture": ArtifactKind.TEXTURE,
    "pictures/canonical_grid": ArtifactKind.CANONICAL_GRID,
    "pictures/canonical_grid_learned": ArtifactKind.CANONICAL_GRID,
    "pictures/canonical_parts": ArtifactKind.PARTS,
}
TURNTABLE_FOLDER = "pictures/turntable/"
_PICTURE_FOLDERS = {"pictures/heat_maps/": ArtifactKind.HEAT_MAPS, TURNTABLE_FOLDER: ArtifactKind.TURNTABLE}
IMAGE_PICTURES = {
    "congealed_mask": ArtifactKind.CONGEALED_MASK,
    "congealed_pca": ArtifactKind.CONGEALED_PCA,
    "congealed_pca_first": ArtifactKind.CONGEALED_PCA,
    "image_saliency": ArtifactKind.IMAGE_SALIENCY,
    "canonical_colours": ArtifactKind.CANONICAL_COLOURS,
    "parts": ArtifactKind.PARTS,
    "points": ArtifactKind.POINTS,
    "overlays": ArtifactKind.OVERLAY,
    "canonical_places": ArtifactKind.CANONICAL_COORDINATES,
}
TENSORS = {
    "atlas_features": StoredTensor(ArtifactKind.ATLAS_FEATURES, ("channel", "y", "x"), "unit vector", np.float16),
    "atlas_saliency": StoredTensor(ArtifactKind.ATLAS_SALIENCY, ("y", "x"), "share", np.float16),
    "training_curve": StoredTensor(ArtifactKind.TRAINING_CURVE, ("row", "figure"), "number", np.float32),
    "matches": StoredTensor(
        ArtifactKind.MATCHES,
        ("match", "image_x_y_image_x_y_trust"),
        "images by index, x and y in their pixels, trust in [0, 1]",
        np.float32,
    ),
    "part_shares": StoredTensor(ArtifactKind.PARTS, ("part", "y", "x"), "share of the images", np.float16),
    "part_features": StoredTensor(ArtifactKind.PART_FEATURES, ("part", "channel"), "feature", np.float32),
    "imd_matrix": StoredTensor(ArtifactKind.IMD_MATRIX, ("source", "target", "variant"), "distance", np.float32),
    "background_features": StoredTensor(ArtifactKind.PART_FEATURES, ("cluster", "channel"), "feature", np.float32),
    "embeddings": StoredTensor(
        ArtifactKind.EMBEDDINGS,
        ("embedding", "round", "token", "channel"),
        "input of the network's cross-attention",
        np.float32,
    ),
    "loss_curves": StoredTensor(
        ArtifactKind.TRAINING_CURVE, ("embedding", "round", "step"), "loss; NaN after the end", np.float32
    ),
}
IMAGE_TENSORS = {
    "residual_flow": StoredTensor(
        ArtifactKind.RESIDUAL_FLOW,
        ("y", "x", "xy"),
        "displacement in the atlas before the similarity, in units in which the atlas is [-1, 1] x [-1, 1]",
        np.float16,
    ),
    "parts": StoredTensor(ArtifactKind.PARTS, ("y", "x"), "number of the part, -1 on the background", np.int16),
    "match_evidence": StoredTensor(
        ArtifactKind.MATCH_EVIDENCE,
        ("target", "y", "x", "peak_margin_entropy_cycle"),
        "of each match the cosine, its lead over the best elsewhere, the entropy in its window in [0, 1], and how far "
        "the way back ends, in cells; NaN where there is no match",
        np.float16,
    ),
    "mirrored_maps": StoredTensor(
        ArtifactKind.MIRRORED_MAPS,
        ("target", "y", "x", "xy_confidence"),
        "pixels of the target and a confidence in [0, 1], with left and right exchanged: matches of the mirrored "
        "picture; NaN where it was not chosen",
        np.float32,
    ),
    "heat_maps": StoredTensor(
        ArtifactKind.HEAT_MAPS,
        ("query", "y", "x"),
        "attention in [0, 1]; NaN where it was not asked for",
        np.float16,
    ),
}


DOCUMENTS = {
    "pairs": ArtifactKind.PAIR_SUMMARY,
    "keypoint_transfer": ArtifactKind.KEYPOINT_TRANSFER,
    "pose_prediction": ArtifactKind.POSE_PREDICTION,
    "pck_report": ArtifactKind.PCK_REPORT,
    "adapter/config": ArtifactKind.ADAPTER_CONFIG,
    "matches": ArtifactKind.MATCHES,
    "embeddings_info": ArtifactKind.EMBEDDINGS_INFO,
    "poses": ArtifactKind.POSES,
    "shape_report": ArtifactKind.SHAPE_REPORT,
}
BUNDLES = {"adapter/weights": ArtifactKind.ADAPTER, "canonical/token": ArtifactKind.EMBEDDINGS}
FILES = {
    "canonical/turntable.webp": StoredFile(ArtifactKind.TURNTABLE, "image/webp"),
    "canonical/field.safetensors": StoredFile(ArtifactKind.FIELD, SAFETENSORS_MEDIA_TYPE),
    "colmap/cameras.txt": StoredFile(ArtifactKind.COLMAP, "text/plain"),
    "colmap/images.txt": StoredFile(ArtifactKind.COLMAP, "text/plain"),
    "colmap/points3d.txt": StoredFile(ArtifactKind.COLMAP, "text/plain"),
}


def picture_kind(name: str) -> ArtifactKind:
    """What a picture of the whole set is, by its name or its folder; the atlas in colours if neither is known."""
    for folder, kind in _PICTURE_FOLDERS.items():
        if name.startswith(folder):
            return kind
    return _PICTURES.get(name, ArtifactKind.ATLAS_RGB)
