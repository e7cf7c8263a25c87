"""A job's parameters as the options of the method's parts."""

from __future__ import annotations

from dataclasses import replace

from api_schemas.methods.congealing_3d import FEATURE_DIM, Congealing3dParams, GeneratedShape
from workers.methods.congealing_3d.generate.options import GenerateOptions, fast, official
from workers.methods.congealing_3d.pose.bank import DescribeOptions
from workers.methods.congealing_3d.pose.grid import GridOptions
from workers.methods.congealing_3d.pose.search import SearchOptions


def describe_options(params: Congealing3dParams) -> DescribeOptions:
    """How crops are described."""
    return DescribeOptions(size=params.crop_size, cells=params.cells, dim=FEATURE_DIM)


def grid_options(params: Congealing3dParams) -> GridOptions:
    """Which poses are tried."""
    search = params.search
    return GridOptions(
        azimuths=search.azimuths,
        elevations=search.elevations,
        elevation_range_deg=(search.min_elevation_deg, search.max_elevation_deg),
        fovs_deg=tuple(search.fovs_deg),
        rolls_deg=tuple(search.rolls_deg),
        spacing=search.spacing,
    )


def search_options(params: Congealing3dParams) -> SearchOptions:
    """How poses are followed and chosen."""
    return SearchOptions(hypotheses=params.search.hypotheses, refine=params.refine, collective=params.collective)


def generate_options(asked: GeneratedShape) -> GenerateOptions:
    """How a shape is made."""
    options = official() if asked.preset == "official" else fast()
    inversion = replace(options.inversion, word=asked.word, vectors=asked.vectors)
    if asked.inversion_steps is not None:
        inversion = replace(inversion, steps=asked.inversion_steps)
    distillation = replace(options.distillation, kind=asked.field)
    if asked.distillation_steps is not None:
        distillation = replace(distillation, steps=asked.distillation_steps)
    return replace(options, inversion=inversion, distillation=distillation, suffix=asked.suffix)
