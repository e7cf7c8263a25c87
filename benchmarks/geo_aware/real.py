"""Photographs with keypoints: matched as they are, with mirrored variants, and after training on two thirds."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from api_schemas.keypoints.inference import completed
from api_schemas.keypoints.schema import KeypointSchema
from api_schemas.methods.geo_aware import GeoAwareParams
from api_schemas.methods.geo_aware_adapter import SPEC, GeoAwareAdapterParams
from workers.backbones.registry import BackboneProvider
from workers.methods.base import Annotation, InputImage
from workers.methods.geo_aware.pipeline import GeoAware
from workers.methods.geo_aware_adapter.pipeline import GeoAwareAdapter
from workers.run_context import Run

SETS = ("car_views", "dog")
TEST_SHARE = 1 / 3
CENTRE_PX = 0.5
EIGHTH_DEG = 45.0


@dataclass(frozen=True)
class TrainedRow:
    """PCK@0.1 of test photographs before and after training, standard and geometry-aware, in [0, 1]."""

    photographs: str
    seed: int
    train: int
    test: int
    points: int
    before: float | None
    after: float | None
    geo_points: int
    geo_before: float | None
    geo_after: float | None
    cpu_s: float


@dataclass(frozen=True)
class FlipRow:
    """PCK@0.1 of all pairs of photographs by plain features, with and without mirrored variants, in [0, 1]."""

    photographs: str
    images: int
    without: float | None
    mirrored: float | None
    cpu_s: float


def annotated(folder: Path) -> list[InputImage]:
    """Read a set in the layout of `benchmarks.photographs`, with `keypoint_names` and `flip_permutation`."""
    content = json.loads((folder / "annotations.json").read_text())
    schema = completed(KeypointSchema(names=content["keypoint_names"], flip_permutation=content["flip_permutation"]))
    return [_image(folder, content["category"], schema, entry) for entry in content["images"]]


def trained_rows(folder: Path, backbones: BackboneProvider, *, seeds: int, params: dict[str, Any]) -> list[TrainedRow]:
    """Train on two thirds of a set, by several splits."""
    images = annotated(folder)
    return [_trained(folder.name, images, backbones, seed, params) for seed in range(seeds)]


def flip_row(folder: Path, backbones: BackboneProvider) -> FlipRow:
    """Match all pairs of a set by plain features, sources also mirrored."""
    images = annotated(folder)
    began = time.process_time()
    result = GeoAware(backbones).run(images, GeoAwareParams(variants=["id", "flip"]), Run.local())
    report: Any = result.documents["pck_report"]
    without, mirrored = (report[name]["standard"]["pck"][0]["per_point"] for name in ("without_mirroring", "keypoints"))
    return FlipRow(folder.name, len(images), without, mirrored, round(time.process_time() - began, 1))


def _trained(
    name: str, images: list[InputImage], backbones: BackboneProvider, seed: int, params: dict[str, Any]
) -> TrainedRow:
    began = time.process_time()
    chosen = GeoAwareAdapterParams.model_validate({"test_share": TEST_SHARE, **params})
    result = GeoAwareAdapter(backbones).run(images, chosen, Run.local(seed, stages=SPEC.stages))
    report: Any = result.documents["pck_report"]
    before, after = report["test"]["before"], report["test"]["after"]

    def share(of: Any, kind: str) -> float | None:
        found: float | None = of[kind]["pck"][0]["per_point"]
        return found

    return TrainedRow(
        photographs=name,
        seed=seed,
        train=len(report["split"]["train"]),
        test=len(report["split"]["test"]),
        points=before["standard"]["points"],
        before=share(before, "standard"),
        after=share(after, "standard"),
        geo_points=before["geometry_aware"]["points"],
        geo_before=share(before, "geometry_aware"),
        geo_after=share(after, "geometry_aware"),
        cpu_s=round(time.process_time() - began, 1),
    )


def _image(folder: Path, category: str, schema: KeypointSchema, entry: dict[str, Any]) -> InputImage:
    keypoints = np.array(entry["keypoints"], dtype=np.float64)
    keypoints[:, 2] = keypoints[:, 2] > 0
    keypoints[:, :2] += CENTRE_PX
    azimuth = (entry.get("attributes") or {}).get("azimuth_deg")
    with Image.open(folder / entry["file"]) as picture:
        rgb = np.asarray(picture.convert("RGB"))
    known = Annotation(
        category=category,
        schema=schema,
        keypoints=keypoints,
        box=tuple(entry["bbox"]) if entry["bbox"] else None,
        azimuth=None if azimuth is None else int((azimuth + EIGHTH_DEG / 2) % 360 // EIGHTH_DEG),
    )
    return InputImage(name=entry["file"], rgb=rgb, annotation=known)
