"""How fast and how well 3D Congealing finds poses.

Run `python -m benchmarks.congealing_3d [FOLDER [SET ...]]`. FOLDER holds one folder of photographs a set, each with
`annotations.json`: `category`, and `images` with `file`, `bbox` [x0, y0, x1, y1] or null, and `pose`, (4, 4) from the
world to the camera (OpenCV axes); and `meshes` with `meshes.json`, a list of `name`, `file` (OBJ), `category` and, for
meshes that lie in the frame of their category's poses, `axes`. Of photographs of one object from many sides, half
make the shape and the others are searched. Seconds are those of one thread.

The search is run in two forms over the same candidates, for all images at once, and for one pair of an image and a
candidate after the other, in full on few images; seconds and memory are those of processes of their own. Poses of drawn
shapes by features that tell the place show what the search itself reaches; meshes of one kind seen as another, and
photographs, what it reaches by the backbones at hand. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.congealing_3d.beds import BEDS, GOOD_DEG, SAME, BenchRow, PoseRow, bed_rows, bench_row
from benchmarks.congealing_3d.meshes import NamedMesh, mesh_rows, meshes_of, placed_rows
from benchmarks.congealing_3d.multiview import MultiviewRow, rows_of
from benchmarks.congealing_3d.photographs import PhotographRow, PhotographSet, photograph_rows, read_set
from benchmarks.congealing_3d.search import Compared, Features, compare
from benchmarks.congealing_3d.tables import bench_table, multiview_table, photograph_table, pose_table, search_table
from workers.backbones.registry import BackboneProvider
from workers.methods.congealing_3d.pose.grid import GridOptions

SETS = ("car_pose", "car_views")
ASYMMETRIES = (0.0, 0.1)
ON_THE_GROUND = (-10.0, 40.0)
"""Elevations from which people take pictures of things that stand on the ground."""


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        images: of every drawn set.
        alone: of them are searched one pair after the other, by features.
        apart: measure both forms of the search in processes of their own.
        seeds: of the cameras that look at other meshes by places.
        beds: which drawn sets.
        asymmetries: of the benches.
        options: of the candidates.
        ground: of candidates that look from where people stand.
        photographs: of every set, at most; None: all.
        backbones: of photographs.
    """

    images: int
    alone: dict[Features, int]
    apart: bool
    seeds: tuple[int, ...]
    beds: tuple[str, ...]
    asymmetries: tuple[float, ...]
    options: GridOptions
    ground: GridOptions
    photographs: int | None
    backbones: tuple[str, ...]


FULL = Sizes(
    images=24,
    alone={"oracle": 2, "embedded": 1},
    apart=True,
    seeds=(3, 11, 12),
    beds=BEDS,
    asymmetries=ASYMMETRIES,
    options=GridOptions(),
    ground=GridOptions(elevations=5, elevation_range_deg=ON_THE_GROUND),
    photographs=None,
    backbones=("embedded", "dense_descriptor"),
)
_FEW = GridOptions(azimuths=8, elevations=3, elevation_range_deg=(-20, 60), fovs_deg=(37.5,))
QUICK = Sizes(
    images=2,
    alone={"oracle": 1},
    apart=False,
    seeds=(3,),
    beds=(SAME,),
    asymmetries=(),
    options=_FEW,
    ground=_FEW,
    photographs=2,
    backbones=("dense_descriptor",),
)


def main() -> None:
    """Measure everything, print the tables as they come and the figures last."""
    arguments = _arguments()
    sizes = QUICK if arguments.quick else FULL
    torch.set_num_threads(1)
    console = Console(width=190)
    # First: a process inherits the peak of the one that starts it.
    searches = [
        compare(features, sizes.options, images=sizes.images, alone=alone, apart=sizes.apart)
        for features, alone in sizes.alone.items()
    ]
    console.print(search_table(searches))
    beds = list(bed_rows(sizes.beds, sizes.images, sizes.options))
    console.print(pose_table("features that tell the place", beds))
    benches = [bench_row(asymmetry, sizes.images, sizes.options) for asymmetry in sizes.asymmetries]
    if benches:
        console.print(bench_table(benches, sizes.images))
    meshes: list[PoseRow] = []
    photographs: list[PhotographRow] = []
    multiview: list[MultiviewRow] = []
    if arguments.data is not None:
        sets = [read_set(arguments.data / name, sizes.photographs) for name in arguments.sets or SETS]
        shapes = {each.category: meshes_of(arguments.data, each.category) for each in sets}
        meshes = [row for known in shapes.values() for row in _seen_as_another(known, sizes)]
        console.print(pose_table("meshes of one kind", meshes))
        photographs = list(_photographed(sets, shapes, sizes))
        console.print(photograph_table(photographs, [(s.name, s.category) for s in sets if not shapes[s.category]]))
        multiview = list(rows_of(arguments.data, sizes.backbones, sizes.options))
        console.print(multiview_table(multiview))
    figures = summary(searches, beds, benches, meshes, photographs, multiview)
    console.out(json.dumps(figures), highlight=False)


def summary(
    searches: Sequence[Compared],
    beds: Sequence[PoseRow],
    benches: Sequence[BenchRow],
    meshes: Sequence[PoseRow],
    photographs: Sequence[PhotographRow],
    multiview: Sequence[MultiviewRow],
) -> dict[str, Any]:
    """The figures that are compared from one version to the next; those without a row are of the first bed."""
    first = beds[0]
    return {
        "benchmark": "congealing_3d",
        "search_speedup": round(searches[0].speedup, 1),
        "search_same": all(row.is_same for row in searches),
        "median_rot_deg": round(first.median_deg, 2),
        "p95_rot_deg": round(first.p95_deg, 2),
        "under_10deg": round(first.under(GOOD_DEG), 3),
        "cpu_s": round(first.cost.cpu_s, 1),
        "wall_s": round(first.cost.wall_s, 1),
        "searches": [_searched(row) for row in searches],
        "beds": [_posed(row) for row in beds],
        "benches": [asdict(row) for row in benches],
        "meshes": [_posed(row) for row in meshes],
        "photographs": [asdict(row) for row in photographs],
        "multiview": [asdict(row) for row in multiview],
    }


def _searched(row: Compared) -> dict[str, Any]:
    return {
        "features": row.features,
        "candidates": row.candidates,
        "speedup": round(row.speedup, 1),
        "is_same": row.is_same,
        **{
            name: {"images": len(run.choices), **asdict(run.cost), "peak_gb": round(run.peak_gb, 2)}
            for name, run in (("at_once", row.batched), ("one_by_one", row.alone))
        },
    }


def _posed(row: PoseRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "images": len(row.errors),
        "median_deg": round(row.median_deg, 2),
        "p95_deg": round(row.p95_deg, 2),
        "under_10deg": round(row.under(GOOD_DEG), 3),
        "under_30deg": round(row.under(30), 3),
        "ambiguous": round(row.ambiguous, 3),
        "by_chance": round(row.by_chance, 3),
        "cpu_s": round(row.cost.cpu_s, 1),
        "wall_s": round(row.cost.wall_s, 1),
    }


def _seen_as_another(known: Sequence[NamedMesh], sizes: Sizes) -> Iterator[PoseRow]:
    """The first mesh of a category as the shape in pictures of the others, by the best features and by real ones."""
    if len(known) > 1:
        yield from placed_rows(known[0], known[1:], sizes.images, sizes.options, seeds=sizes.seeds)
        backbone = BackboneProvider().get(sizes.backbones[0])
        yield from mesh_rows(known[0], known[1:], backbone, sizes.images, sizes.options)


def _photographed(
    sets: Sequence[PhotographSet], shapes: dict[str, list[NamedMesh]], sizes: Sizes
) -> Iterator[PhotographRow]:
    """The first mesh by every backbone from everywhere and from the ground; the others by the first backbone alone."""
    backbones = BackboneProvider()
    for category, known in shapes.items():
        shown = [each for each in sets if each.category == category]
        for shape in known:
            is_first = shape is known[0]
            for name in sizes.backbones if is_first else sizes.backbones[:1]:
                for options in (sizes.options, sizes.ground) if is_first else (sizes.ground,):
                    yield from photograph_rows(shown, shape, backbones.get(name), options)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Speed and accuracy of the poses that 3D Congealing finds.")
    parser.add_argument("data", type=Path, nargs="?", help="folder with one folder of photographs a set, and meshes")
    parser.add_argument("sets", nargs="*", help=f"sets to measure; {' '.join(SETS)} if left out")
    parser.add_argument("--quick", action="store_true", help="few images and candidates, only to see that it works")
    arguments = parser.parse_args()
    named = [] if arguments.data is None else [arguments.data / name for name in arguments.sets or SETS]
    missing = [str(folder) for folder in named if not (folder / "annotations.json").exists()]
    if missing:
        parser.error(f"no annotations.json in {', '.join(missing)}; name sets that are in {arguments.data}")
    return arguments


if __name__ == "__main__":
    main()
