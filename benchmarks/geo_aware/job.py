"""What a default job on all pairs costs, from images to written results."""

from __future__ import annotations

import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from api_schemas.methods.geo_aware import GeoAwareParams
from workers.backbones.registry import BackboneProvider
from workers.evaluation.synthetic import sample_set
from workers.methods.base import InputImage
from workers.methods.export import export
from workers.methods.geo_aware.pipeline import GeoAware
from workers.run_context import Run

IMAGES = 12
_KIB = 1024


@dataclass(frozen=True)
class JobCost:
    """Of a process that does nothing else."""

    images: int
    pairs: int
    cpu_s: float
    wall_s: float
    peak_gb: float


def job_cost() -> JobCost:
    """Measure a job with mirrored variants in a process of its own."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(_measure).result()


def _measure() -> JobCost:
    torch.set_num_threads(1)
    images = [InputImage(image.name, image.rgb) for image in sample_set(count=IMAGES).images]
    began, wall_began = time.process_time(), time.perf_counter()
    result = GeoAware(BackboneProvider()).run(images, GeoAwareParams(variants=["id", "flip"]), Run.local())
    with tempfile.TemporaryDirectory() as folder:
        export(result, images, Path(folder))
    return JobCost(
        images=IMAGES,
        pairs=IMAGES * (IMAGES - 1),
        cpu_s=round(time.process_time() - began, 1),
        wall_s=round(time.perf_counter() - wall_began, 1),
        peak_gb=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB / 1e9, 2),
    )
