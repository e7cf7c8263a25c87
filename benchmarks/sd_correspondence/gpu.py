"""Seconds and memory of a step on a GPU, with networks of the real size and random weights."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from api_schemas.methods.sd_correspondence import SdCorrespondenceParams
from benchmarks.sd_correspondence.networks import real_networks
from workers.backbones.base import Compute, no_tick
from workers.backbones.diffusion.attention import AttentionReader
from workers.evaluation.attention_bed import canonical_picture
from workers.methods.sd_correspondence.crops import crops_of
from workers.methods.sd_correspondence.optimisation import Draws, Group, Optimisation
from workers.methods.sd_correspondence.options import options_of
from workers.methods.sd_correspondence.passes import Passes
from workers.methods.sd_correspondence.reader import Reader, generator
from workers.methods.sd_correspondence.scene import LiveFeatures, Scene

BATCHES = (1, 4, 16)
DTYPES = (torch.float32, torch.bfloat16)
_BANK = 4
_WARM_UP, _STEPS = 2, 5


@dataclass(frozen=True)
class GpuRow:
    """Steps of a batch of embeddings.

    Attributes:
        dtype: of the U-Net.
        batch: embeddings.
        at_once: of them in one pass; fewer than `batch` where memory ran out.
        step_s: of a step of all of them.
        networks_gb: memory that the networks take.
        peak_gb: highest memory in use during a step, networks included.
    """

    dtype: str
    batch: int
    at_once: int
    step_s: float
    networks_gb: float
    peak_gb: float


def gpu_rows(batches: Sequence[int] = BATCHES) -> Iterator[GpuRow]:
    """Measure, on the first GPU, each precision with each batch."""
    device = torch.device("cuda")
    for dtype in DTYPES:
        reader = AttentionReader(real_networks(Compute(device=device, dtype=dtype)))
        networks_gb = torch.cuda.memory_allocated(device) / 1e9
        for batch in batches:
            yield _measured(reader, str(dtype).removeprefix("torch."), batch, networks_gb)
        del reader
        torch.cuda.empty_cache()


def begun(reader: Reader, batch: int, size: int) -> tuple[Optimisation, Passes]:
    """An optimisation of so many embeddings, of one point each, whose crops are encoded."""
    params = SdCorrespondenceParams.model_validate({"working_size": size, "tuning": {"rounds": 1, "steps": 1000}})
    options = options_of(params)
    crops = crops_of(size, options.crop_percent)
    bank = crops.bank(_BANK, generator("bank"))
    scene = Scene(reader, canonical_picture(np.eye(2), np.zeros(2), size), crops, tick=no_tick)
    scene.encode(bank)
    places = torch.rand(batch, 1, 2, generator=generator("places")) * size
    groups = [Group(place, ("group", number)) for number, place in enumerate(places)]
    passes = Passes(reader, print, items=batch)
    features = LiveFeatures(scene, options.optimise_timestep)
    return Optimisation(reader, features, groups, Draws(crops, bank), options, passes), passes


def _measured(reader: AttentionReader, dtype: str, batch: int, networks_gb: float) -> GpuRow:
    optimisation, passes = begun(reader, batch, 512)
    for _ in range(_WARM_UP):
        optimisation.step()
    torch.cuda.reset_peak_memory_stats()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(_STEPS):
        optimisation.step()
    torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / _STEPS
    return GpuRow(dtype, batch, passes.items, seconds, networks_gb, torch.cuda.max_memory_allocated() / 1e9)
