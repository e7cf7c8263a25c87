"""Jobs of this benchmark: images with known points, methods run on them, and features described beforehand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from alignment.scores import AnnotatedImage
from api_schemas.methods.asic import AsicParams
from api_schemas.methods.registry import method_specs
from workers.backbones.registry import BackboneProvider
from workers.methods.asic.inputs import described_set
from workers.methods.base import InputImage, MethodResult
from workers.methods.features import Heartbeat
from workers.methods.registry import load_method
from workers.run_context import Run


@dataclass(frozen=True)
class KnownSet:
    """Images and the points that are known of them."""

    name: str
    images: list[InputImage]
    annotated: Mapping[int, AnnotatedImage]


@dataclass(frozen=True)
class Timed:
    """A result, and the CPU seconds it took."""

    result: MethodResult
    cpu_s: float


def run_method(name: str, images: Sequence[InputImage], backbones: BackboneProvider) -> Timed:
    """Run a method with default parameters."""
    spec = method_specs()[name]
    method = load_method(spec)(backbones)
    began = time.process_time()
    result = method.run(images, spec.params(), Run.local())
    return Timed(result, time.process_time() - began)


@torch.no_grad()
def describe_beforehand(images: Sequence[InputImage], backbones: BackboneProvider) -> float:
    """Put all features that a default job of ASIC asks for into the provider's cache; CPU seconds."""
    run = Run.local()
    began = time.process_time()
    described_set(backbones, images, AsicParams(), run, Heartbeat(run))
    return time.process_time() - began
