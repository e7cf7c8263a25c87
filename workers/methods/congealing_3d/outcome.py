"""From poses and maps to a method's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from torch import Tensor

from alignment.camera import Camera
from alignment.sampling import ImageSize
from alignment.shape import Shape
from workers.backbones.base import Backbone, Tick
from workers.geometry.cameras import angles_between_deg
from workers.methods.base import MethodResult
from workers.methods.congealing_3d.mapping import PlacedImage, nowhere
from workers.methods.congealing_3d.pose.search import FoundPoses
from workers.methods.congealing_3d.scene import Scene
from workers.rendering.canonical_places import places_picture
from workers.rendering.colmap import cameras_txt, images_txt, points_txt
from workers.rendering.overlay import OverlaidShape, overlay, overlay_without_pose
from workers.rendering.surface import Surface
from workers.rendering.texturing import Textured
from workers.rendering.turntable import animated_webp, turntable

_POINTS = 2000
_ALTERNATIVES = 5
_APART_DEG = 15.0


@dataclass(frozen=True)
class Provenance:
    """Where the shape came from, and what came along."""

    report: dict[str, JsonValue]
    warnings: tuple[str, ...] = ()
    bundles: Mapping[str, Mapping[str, npt.NDArray[np.float32]]] = field(default_factory=dict)
    tensors: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)


def outcome(
    scene: Scene,
    poses: FoundPoses,
    placed: Sequence[PlacedImage],
    canonical: Textured,
    provenance: Provenance,
    backbone: Backbone,
    *,
    map_side: int,
    seed: int,
    tick: Tick,
) -> MethodResult:
    """Put a result together; `poses` and `placed` are of the images shown."""
    sizes = tuple(ImageSize(image.width, image.height) for image in scene.images)
    found = dict(zip(scene.shown, poses.best.as_results(), strict=True))
    cameras = tuple(found.get(index) for index in range(len(sizes)))
    maps = dict(zip(scene.shown, placed, strict=True))
    every = [maps.get(index) or nowhere(size.width, size.height, map_side) for index, size in enumerate(sizes)]
    surface, texture = Surface.of(canonical.mesh), canonical.mesh.texture
    assert texture is not None
    frames = turntable(surface, tick=tick)
    rows = [_document_row(scene, poses, cameras, index) for index in range(len(sizes))]
    return MethodResult(
        form=Shape(
            images=sizes,
            mesh=canonical.mesh,
            cameras=cameras,
            coordinates=tuple(each.coordinates for each in every),
            confidence=tuple(each.confidence for each in every),
            texels=canonical.texels,
        ),
        backbone=backbone.name,
        backbone_identity=backbone.identity,
        scores=[_scores(row) for row in rows],
        set_scores=_set_scores(poses),
        warnings=(*provenance.warnings, *_warnings(scene, rows)),
        pictures={"pictures/texture": texture}
        | {f"pictures/turntable/{index:03d}": frame for index, frame in enumerate(frames)},
        tensors=provenance.tensors,
        documents={"poses": {"images": list(rows)}, "shape_report": provenance.report},
        bundles=provenance.bundles,
        files={
            "canonical/turntable.webp": animated_webp(frames),
            **_colmap(scene, cameras, surface, seed),
            **provenance.files,
        },
        image_pictures={
            "overlays": _overlays(scene, cameras, canonical, tick),
            "canonical_places": [places_picture(each.coordinates) for each in every],
        },
    )


def _document_row(
    scene: Scene, poses: FoundPoses, cameras: Sequence[Camera | None], index: int
) -> dict[str, JsonValue]:
    """What is told of the pose of an image."""
    image, camera = scene.images[index], cameras[index]
    problems = list(scene.problems[index])
    row: dict[str, JsonValue] = {"index": index, "name": image.name, "pose": None}
    if camera is not None:
        shown = scene.shown.index(index)
        if bool(poses.by_chance[shown]):
            problems.append("no_better_than_chance")
        if bool(poses.ambiguous[shown]):
            problems.append("ambiguous")
        listed = _alternatives(poses, shown)
        row |= {
            "pose": listed[0],
            "alternatives": [*listed[1:]],
            "crop": _crop_px(scene, shown),
            "best_candidate_score": float(poses.grid_scores[shown]),
            "score_by_chance": float(poses.chance_scores[shown]),
        }
    return row | {"problems": [*problems]}


def _alternatives(poses: FoundPoses, shown: int) -> list[dict[str, JsonValue]]:
    """The poses of an image, best first."""
    each = poses.scores.shape[1]
    rows: list[dict[str, JsonValue]] = []
    for place in _distinct(poses, shown)[: _ALTERNATIVES + 1]:
        camera = poses.cameras[shown * each + place].as_results()[0]
        rows.append(
            {
                **_direction(camera),
                "score": float(poses.scores[shown, place]),
                "fit": float(poses.fits[shown, place]),
                "iou": None if poses.ious is None else float(poses.ious[shown, place]),
                "camera_to_world": camera.to_world.tolist(),
            }
        )
    return rows


def _distinct(poses: FoundPoses, shown: int) -> list[int]:
    """Which poses of an image are turned away from all better ones: refinement lets many end in the same."""
    scores = poses.scores[shown]
    rotations = poses.cameras.rotation.view(*poses.scores.shape, 3, 3)[shown]
    kept: list[int] = []
    for place in range(int(torch.isfinite(scores).sum())):
        if bool((angles_between_deg(rotations[kept], rotations[place]) > _APART_DEG).all()):
            kept.append(place)
    return kept


def _direction(camera: Camera) -> dict[str, JsonValue]:
    """Where a camera stands, as seen from the shape."""
    x, y, z = camera.to_world[:3, 3]
    distance = float(np.linalg.norm([x, y, z]))
    return {
        "azimuth_deg": float(np.degrees(np.arctan2(-z, x))),
        "elevation_deg": float(np.degrees(np.arcsin(np.clip(y / max(distance, 1e-9), -1, 1)))),
        "distance": distance,
        "fov_deg": camera.fov_deg,
    }


def _crop_px(scene: Scene, shown: int) -> list[JsonValue]:
    """The crop [x0, y0, x1, y1] in pixels; may reach beyond the image."""
    image = scene.images[scene.shown[shown]]
    x, y, half = (scene.crops.windows[shown].double() * image.height / 2).tolist()
    centre_x, centre_y = x + image.width / 2, y + image.height / 2
    return [centre_x - half, centre_y - half, centre_x + half, centre_y + half]


def _scores(row: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    pose, problems = row["pose"], row["problems"]
    assert isinstance(problems, list)
    if not isinstance(pose, dict):
        return {"has_pose": False, "outlier": True}
    figures = {name: pose[name] for name in ("azimuth_deg", "elevation_deg", "fov_deg", "score", "fit", "iou")}
    return {
        "has_pose": True,
        **figures,
        "ambiguous": "ambiguous" in problems,
        "outlier": "no_better_than_chance" in problems,
    }


def _set_scores(poses: FoundPoses) -> dict[str, float]:
    found = {"mean_fit": float(poses.fits[:, 0].mean()), "ambiguous_share": float(poses.ambiguous.float().mean())}
    return found if poses.ious is None else {**found, "mean_iou": float(poses.ious[:, 0].mean())}


def _warnings(scene: Scene, rows: Sequence[Mapping[str, JsonValue]]) -> list[str]:
    said = {
        "mask_too_small": "the masks of {} cover less than a hundredth of the image: they got no pose",
        "mask_full": "the masks of {} cover the whole image: mark the object alone",
        "no_better_than_chance": "no pose fits {} better than it fits disorder: do not trust these poses",
        "ambiguous": "of {} quite another pose fits nearly as well",
    }
    found = []
    for problem, text in said.items():
        named = [scene.images[index].name for index, row in enumerate(rows) if problem in _listed(row["problems"])]
        if named:
            found.append(text.format(_few(named)))
    if scene.masks is None:
        found.append("no masks were given: poses rest on features alone; masks make them far more certain")
    return found


def _listed(value: JsonValue) -> list[JsonValue]:
    assert isinstance(value, list)
    return value


def _few(names: Sequence[str], most: int = 8) -> str:
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


def _overlays(
    scene: Scene, cameras: Sequence[Camera | None], canonical: Textured, tick: Tick
) -> list[npt.NDArray[np.uint8]]:
    shape = OverlaidShape.of(Surface.of(canonical.mesh))
    pictures = []
    for index, (image, camera) in enumerate(zip(scene.images, cameras, strict=True)):
        mask = None if scene.masks is None else (scene.masks[index] * 255).round().astype(np.uint8)
        if camera is None:
            pictures.append(overlay_without_pose(image.rgb, mask))
        else:
            pictures.append(overlay(image.rgb, shape, camera, mask))
        tick()
    return pictures


def _colmap(scene: Scene, cameras: Sequence[Camera | None], surface: Surface, seed: int) -> dict[str, bytes]:
    sizes = [ImageSize(image.width, image.height) for image in scene.images]
    points, _ = surface.samples(_POINTS, seed=seed)
    written = {
        "colmap/cameras.txt": cameras_txt(cameras, sizes),
        "colmap/images.txt": images_txt(cameras, [image.name for image in scene.images]),
        "colmap/points3d.txt": points_txt(_numbers(points)),
    }
    return {name: text.encode() for name, text in written.items()}


def _numbers(values: Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = values.cpu().numpy()
    return found
