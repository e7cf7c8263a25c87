"""What a default job costs once features are there."""

from __future__ import annotations

import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.asic.jobs import describe_beforehand, run_method
from workers.backbones.cache import FeatureCache
from workers.backbones.registry import BackboneProvider
from workers.evaluation.synthetic import sample_set
from workers.methods.base import InputImage
from workers.methods.export import export

IMAGES = 12
CACHE_BYTES = 2_000_000_000
_KIB = 1024


@dataclass(frozen=True)
class JobCost:
    """From images to written results; memory is the peak of the process, which runs the job twice."""

    cpu_s: float
    wall_s: float
    export_cpu_s: float
    """Of the CPU seconds, those for writing."""
    peak_gb: float


def job_cost() -> JobCost:
    """Measure in processes of their own: one describes the images, another aligns them and is measured."""
    context = get_context("spawn")
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(1, context, max_tasks_per_child=1) as pool:
        pool.submit(_describe, Path(name)).result()
        return pool.submit(_measure, Path(name)).result()


def cached_provider(folder: Path) -> BackboneProvider:
    """Backbones whose features are kept in a folder."""
    return BackboneProvider(cache=FeatureCache(folder / "cache", max_bytes=CACHE_BYTES))


def _describe(folder: Path) -> None:
    describe_beforehand(_images(), cached_provider(folder))


def _measure(folder: Path) -> JobCost:
    torch.set_num_threads(1)
    images, backbones = _images(), cached_provider(folder)
    _job(images, backbones, folder / "first")
    return _job(images, backbones, folder / "second")


def _job(images: list[InputImage], backbones: BackboneProvider, out: Path) -> JobCost:
    began, wall_began = time.process_time(), time.perf_counter()
    result = run_method("asic", images, backbones).result
    aligned = time.process_time()
    export(result, images, out)
    ended = time.process_time()
    return JobCost(
        cpu_s=round(ended - began, 1),
        wall_s=round(time.perf_counter() - wall_began, 1),
        export_cpu_s=round(ended - aligned, 1),
        peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB / 1e9, 2),
    )


def _images() -> list[InputImage]:
    return [InputImage(image.name, image.rgb) for image in sample_set(count=IMAGES).images]
