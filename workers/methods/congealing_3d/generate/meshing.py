"""A field's surface as a coloured mesh, and figures that tell whether it is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from pydantic import JsonValue
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.measure import marching_cubes
from torch import Tensor

from alignment.mesh import Mesh
from workers.geometry.cameras import Cameras
from workers.methods.base import UnfitImagesError
from workers.methods.congealing_3d.generate.cameras import ring
from workers.methods.congealing_3d.generate.field import HALF_SIDE, Volume
from workers.methods.congealing_3d.generate.marching import Marching, march
from workers.methods.congealing_3d.generate.occupancy import Occupancy
from workers.methods.congealing_3d.generate.options import MeshOptions
from workers.methods.congealing_3d.generate.rays import step_length
from workers.rendering.rasteriser import rasterise

LEAST_AGREEMENT = 0.95
LEAST_DOMINANCE = 0.9
_LOWERINGS = 4
_LEAST_COMPONENT = 0.01
_MARGIN = 0.1
_POINTS_AT_ONCE = 1 << 18
_VIEWS, _VIEW_SIZE, _VIEW_ELEVATION_DEG = 8, 64, 15.0
_FARTHEST = 0.5
_LOOKS = 4

FloatArray = npt.NDArray[np.float32]
Faces = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Meshed:
    """A mesh, and what is known of it.

    Attributes:
        mesh: in the canonical frame: centred on its box, the farthest vertex at 0.5.
        report: figures; `centre` and `scale` carry the field's frame to the mesh's, (x - centre) * scale.
        warnings: sentences on what is doubtful.
    """

    mesh: Mesh
    report: dict[str, JsonValue]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Solid:
    """A closed surface in the field's frame, outward normals; `dominance` is the largest part's share of all faces."""

    vertices: FloatArray
    faces: Faces
    threshold: float
    parts: int
    dominance: float
    agreement: float


@torch.no_grad()
def mesh_of(
    volume: Volume, options: MeshOptions, marching: Marching, device: torch.device, beat: Callable[[], None]
) -> Meshed:
    """Find the surface of a field.

    Where the field's silhouettes and the mesh's differ because the field is faint, lower densities are tried.

    Args:
        volume: the field.
        options: settings.
        marching: how the field was learned.
        device: where the field is.
        beat: called now and then.

    Raises:
        UnfitImagesError: the field is empty.
    """
    cameras = ring(_VIEWS, elevation_deg=_VIEW_ELEVATION_DEG).to(device)
    silhouettes = silhouettes_of(volume, cameras, marching)
    beat()
    coarse = _densities(volume, np.array([[-HALF_SIDE] * 3, [HALF_SIDE] * 3]), options.coarse, device)
    best: _Solid | None = None
    for lowering in range(_LOWERINGS):
        found = _solid(volume, coarse, options.threshold / 2**lowering, options, silhouettes, cameras)
        beat()
        if found is not None and (best is None or found.agreement > best.agreement):
            best = found
        if best is not None and best.agreement >= LEAST_AGREEMENT:
            break
    if best is None:
        raise UnfitImagesError(
            f"distillation made no solid shape: the field is nowhere denser than {float(coarse.max()):.2g}, where "
            f"{options.threshold / 2 ** (_LOWERINGS - 1):g} is needed; try another seed, more steps, or give a mesh"
        )
    return _finished(volume, best, device)


@torch.no_grad()
def silhouettes_of(volume: Volume, cameras: Cameras, marching: Marching, *, size: int = _VIEW_SIZE) -> Tensor:
    """Where a field blocks more than half the light, (V, size, size) bool, as the distillation sees it."""
    occupancy = Occupancy(step_length(marching.samples), cameras.focal.device)
    for look in range(_LOOKS):
        occupancy.update(volume, torch.Generator().manual_seed(look))
    marched = march(volume, cameras, size, backdrop=torch.ones_like, occupancy=occupancy, marching=marching)
    return marched.opacity[:, 0] > 0.5


def agreement(first: Tensor, second: Tensor) -> float:
    """Mean over views of the intersection over union of silhouettes (V, S, S); 0 where both are empty."""
    both = (first & second).sum(dim=(1, 2))
    either = (first | second).sum(dim=(1, 2))
    return float((both / either.clamp_min(1)).mean())


def _solid(
    volume: Volume,
    coarse: Tensor,
    threshold: float,
    options: MeshOptions,
    silhouettes: Tensor,
    cameras: Cameras,
) -> _Solid | None:
    """The surface at a density; None where the field is nowhere as dense."""
    full = (coarse > threshold).nonzero()
    if not len(full):
        return None
    places = np.linspace(-HALF_SIDE, HALF_SIDE, coarse.shape[0])
    low, high = places[full.amin(dim=0).cpu().numpy()], places[full.amax(dim=0).cpu().numpy()]
    margin = _MARGIN / 2 * (high - low) + 2 * HALF_SIDE / (options.coarse - 1)
    box = np.stack([low - margin, high + margin]).clip(-HALF_SIDE, HALF_SIDE)
    fine = _densities(volume, box, options.fine, coarse.device).cpu().numpy()
    if fine.max() <= threshold:
        return None
    vertices, faces = _surface(fine, box, threshold)
    vertices, faces, parts, dominance = _without_crumbs(vertices, faces)
    seen = _covered(vertices, faces, cameras)
    return _Solid(vertices, faces, threshold, parts, dominance, agreement(seen, silhouettes))


def _densities(volume: Volume, box: npt.NDArray[np.float64], count: int, device: torch.device) -> Tensor:
    """Densities (count, count, count) in x, y, z at places spread evenly over a box (2, 3), its faces included."""
    axes = [torch.linspace(float(low), float(high), count, device=device) for low, high in box.T]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).view(-1, 3)
    found = [volume.density(part) for part in torch.split(points, _POINTS_AT_ONCE)]
    return torch.cat(found).view(count, count, count)


def _surface(densities: FloatArray, box: npt.NDArray[np.float64], threshold: float) -> tuple[FloatArray, Faces]:
    """Marching cubes; the surface is closed where the object leaves the box."""
    spacing = (box[1] - box[0]) / (np.array(densities.shape) - 1)
    vertices, faces, _, _ = marching_cubes(  # type: ignore[no-untyped-call]
        np.pad(densities, 1), threshold, spacing=tuple(spacing)
    )
    placed = (vertices + (box[0] - spacing)).astype(np.float32)
    faces = faces.astype(np.int64)
    return placed, faces if _volume(placed, faces) >= 0 else faces[:, ::-1].copy()


def _without_crumbs(vertices: FloatArray, faces: Faces) -> tuple[FloatArray, Faces, int, float]:
    """Drop parts of less than a hundredth of the faces; also how many are left, and the largest one's share."""
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_array((np.ones(len(edges), bool), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    _, labels = connected_components(graph, directed=False)
    counts = np.bincount(labels[faces[:, 0]])
    dominance = float(counts.max() / len(faces))
    kept = counts >= _LEAST_COMPONENT * len(faces)
    faces = faces[kept[labels[faces[:, 0]]]]
    used, rows = np.unique(faces, return_inverse=True)
    return vertices[used], rows.reshape(-1, 3), int(kept.sum()), dominance


def _covered(vertices: FloatArray, faces: Faces, cameras: Cameras) -> Tensor:
    """Silhouettes (V, S, S) of a mesh."""
    device = cameras.focal.device
    windows = torch.tensor([[0.0, 0.0, 1.0]], device=device).expand(len(cameras), 3)
    corners, rows = torch.from_numpy(vertices).to(device), torch.from_numpy(faces).to(device)
    return rasterise(corners, rows, cameras, windows, _VIEW_SIZE).mask


def _finished(volume: Volume, solid: _Solid, device: torch.device) -> Meshed:
    """Colour the surface, bring it to the canonical frame, and judge it."""
    points = torch.from_numpy(solid.vertices).to(device)
    colours = torch.cat([volume.shaded(part)[1] for part in torch.split(points, _POINTS_AT_ONCE)])
    centre = (solid.vertices.min(axis=0) + solid.vertices.max(axis=0)) / 2
    scale = _FARTHEST / float(np.linalg.norm(solid.vertices - centre, axis=1).max())
    vertices = ((solid.vertices - centre) * scale).astype(np.float32)
    painted = (colours * 255).round().to(torch.uint8).cpu().numpy()
    volume_inside = _volume(vertices, solid.faces)
    report: dict[str, JsonValue] = {
        "threshold": solid.threshold,
        "parts": solid.parts,
        "dominance": solid.dominance,
        "volume": volume_inside,
        "is_watertight": _is_watertight(solid.faces),
        "silhouette_agreement": solid.agreement,
        "centre": [float(value) for value in centre],
        "scale": scale,
    }
    return Meshed(Mesh(vertices, solid.faces.astype(np.int32), painted), report, _warnings(solid, volume_inside))


def _warnings(solid: _Solid, volume_inside: float) -> tuple[str, ...]:
    told = []
    if solid.dominance < LEAST_DOMINANCE:
        told.append(
            f"The generated shape is in {solid.parts} pieces, the largest with {solid.dominance:.0%} of the surface; "
            "another seed may give a whole one."
        )
    if volume_inside <= 0:
        told.append("The generated shape encloses no space; try another seed or more steps.")
    if solid.agreement < LEAST_AGREEMENT:
        told.append(
            f"The mesh's silhouettes and the learned field's overlap by {solid.agreement:.0%} only: parts of the shape "
            "are faint. More steps make it firmer."
        )
    return tuple(told)


def _volume(vertices: FloatArray, faces: Faces) -> float:
    """Volume within a closed surface; negative where the faces are wound clockwise."""
    a, b, c = vertices.astype(np.float64)[faces].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def _is_watertight(faces: Faces) -> bool:
    """Tell whether every edge has a face on each side."""
    edges = np.sort(np.concatenate([faces[:, :2], faces[:, 1:], faces[:, ::2]]), axis=1)
    _, counts = np.unique(edges, axis=0, return_counts=True)
    return bool((counts == 2).all())
