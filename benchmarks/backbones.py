"""What describing an image with a vision transformer costs, against the plain way of the papers' code.

Run `python -m benchmarks.backbones`. Weights are random, one picture at a time, on one thread. CPU seconds are medians;
memory is the peak of a fresh process above its level once the network is there. The last line is one JSON object.
"""

from __future__ import annotations

import json
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import timm
import torch
from rich.console import Console
from rich.table import Table
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from api_schemas.backbones import FeatureOptions
from workers.backbones.base import Compute
from workers.backbones.vit.backbone import VitBackbone
from workers.backbones.vit.network import VitNetwork
from workers.backbones.vit.reference import extract_reference

REPEATS = 3


@dataclass(frozen=True)
class Case:
    """A network and what is asked of it."""

    title: str
    architecture: str
    side_px: int
    options: FeatureOptions


CASES = {
    "vits8": Case(
        "ViT-S/8, 256 px, stride 4, keys of layer 11",
        "vit_small_patch8_224.dino",
        256,
        FeatureOptions(layer=11, facet="key", stride=4, log_bins=False),
    ),
    "vits14": Case(
        "ViT-S/14, 448 px, stride 14, last tokens",
        "vit_small_patch14_dinov2.lvd142m",
        448,
        FeatureOptions(layer=11, facet="token", stride=14, log_bins=False),
    ),
}


@dataclass(frozen=True)
class Cost:
    """What one way took for one picture, and what it gave."""

    cpu_s: float
    peak_mb: float
    features: Tensor


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    case: str
    reference_cpu_s: float
    cpu_s: float
    speedup: float
    reference_peak_mb: float
    peak_mb: float
    memory_ratio: float
    max_difference: float


def main() -> None:
    """Measure all cases and print the table."""
    rows = [compared(name) for name in CASES]
    console = Console(width=130)
    console.print(as_table(rows))
    summary: dict[str, object] = {"benchmark": "backbones", "rows": [asdict(row) for row in rows]}
    for row in rows:
        summary |= {f"speedup_{row.case}": row.speedup, f"memory_ratio_{row.case}": row.memory_ratio}
    summary["max_difference"] = max(row.max_difference for row in rows)
    console.out(json.dumps(summary), highlight=False)


def compared(name: str) -> Row:
    """Measure both ways, each in a process of its own."""
    reference, ours = (in_own_process(measured, name, way) for way in ("reference", "ours"))
    difference = float((reference.features - ours.features).abs().max())
    return Row(
        name,
        round(reference.cpu_s, 3),
        round(ours.cpu_s, 3),
        round(reference.cpu_s / ours.cpu_s, 2),
        round(reference.peak_mb, 1),
        round(ours.peak_mb, 1),
        round(ours.peak_mb / reference.peak_mb, 3),
        difference,
    )


def in_own_process(function: Callable[[str, str], Cost], *arguments: str) -> Cost:
    """Call a function in a spawned process, whose peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def measured(name: str, way: str) -> Cost:
    """Describe one picture in one way; the first time for memory and values, then for time."""
    torch.set_num_threads(1)
    case = CASES[name]
    image = torch.rand(1, 3, case.side_px, case.side_px, generator=torch.Generator().manual_seed(1))
    network = random_network(case.architecture)
    backbone = VitBackbone(network, name=name, options=case.options, compute=Compute())
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    features, _ = described(network, backbone, image, way)
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    times = [described(network, backbone, image, way)[1] for _ in range(REPEATS)]
    return Cost(statistics.median(times), peak_kb / 1024, features)


def described(network: VitNetwork, backbone: VitBackbone, image: Tensor, way: str) -> tuple[Tensor, float]:
    """Return features and CPU seconds."""
    began = time.process_time()
    features = backbone.extract(image) if way == "ours" else extract_reference(network, image, backbone.options)
    return features, time.process_time() - began


def random_network(architecture: str) -> VitNetwork:
    """Build a network whose every part counts, LayerScale too, without any other copy of its weights."""
    torch.manual_seed(0)
    model = timm.create_model(architecture, pretrained=False, num_classes=0)
    assert isinstance(model, VisionTransformer)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.uniform_(0.5, 1)
            elif parameter.ndim > 1:
                parameter.normal_(0, 0.04)
    return VitNetwork(model.eval().requires_grad_(False), digest="random")


def as_table(rows: list[Row]) -> Table:
    """The rows for people."""
    table = Table(title="Vision transformers, one picture, one thread: plain / ours")
    for column in ("case", "CPU s", "faster", "peak MB", "memory", "max difference"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for row in rows:
        table.add_row(
            CASES[row.case].title,
            f"{row.reference_cpu_s} / {row.cpu_s}",
            f"{row.speedup} x",
            f"{row.reference_peak_mb} / {row.peak_mb}",
            f"{row.memory_ratio} x",
            f"{row.max_difference:.1e}",
        )
    return table


if __name__ == "__main__":
    main()
