"""The presets that train the paper's network, from what matching has found."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from api_schemas.methods.asic import AsicParams
from workers.backbones.registry import BackboneProvider
from workers.geometry.coordinates import sample_at
from workers.geometry.joint_splines import PairedPoints
from workers.methods.asic.aligned import Aligned, Training
from workers.methods.asic.alignment import closeness
from workers.methods.asic.inputs import DescribedSet
from workers.methods.asic.network.data import training_set
from workers.methods.asic.network.objective import Distance
from workers.methods.asic.network.options import NetworkOptions, official, quality
from workers.methods.asic.network.perceptual import perceptual_distance
from workers.methods.asic.network.pixel_distance import pixel_distance
from workers.methods.asic.network.training import train
from workers.methods.asic.network.vgg_weights import load_vgg
from workers.methods.asic.object_parts import ObjectParts
from workers.methods.features import Heartbeat
from workers.run_context import Run

_OFFICIAL_THRESHOLD = 1 / 255


def network_options(params: AsicParams) -> NetworkOptions:
    """Translate a job's parameters."""
    own = params.network
    preset = official if params.preset == "parity" else quality
    options = preset() if own.image_size is None else preset(own.image_size)
    options = replace(options, batch=own.batch, width=own.width)
    if own.iterations is None:
        return options
    period = options.period if options.compat else own.iterations
    return replace(options, iterations=own.iterations, period=period)


def trained(
    aligned: Aligned,
    controls: Tensor | None,
    described: DescribedSet,
    foreground: Tensor,
    parts: ObjectParts,
    params: AsicParams,
    backbones: BackboneProvider,
    run: Run,
    pulse: Heartbeat,
) -> Aligned:
    """Train the network.

    Args:
        aligned: what the training begins from.
        controls: of the splines to which the network's offsets are added; None begins from the identity.
        described: the images.
        foreground: (N, 1, c, c) in [0, 1].
        parts: of the objects.
        params: of the job; not a draft.
        backbones: have the weights of the perceptual network.
        run: gives seed and device.
        pulse: progress and checkpoints.
    """
    options = network_options(params)
    size = described.frames.size
    masks = interpolate(foreground, (size, size), mode="bilinear")[:, 0]
    turned = aligned.mirrored.view(-1, 1, 1)
    matches = aligned.matches
    if options.compat:
        masks = (masks > _OFFICIAL_THRESHOLD).to(masks)
    else:
        matches = replace(matches, weights=matches.weights * aligned.trust.to(matches.weights))
    data = training_set(
        torch.where(turned.unsqueeze(1), described.frames.pictures.flip(-1), described.frames.pictures),
        torch.where(turned, masks.flip(-1), masks),
        torch.where(turned, parts.labels.flip(-1), parts.labels),
        matches,
        controls,
        options,
        seed=run.seed,
    )
    found = train(data, options, distance=_distance(params, backbones, run.device), seed=run.seed, hooks=pulse)
    side = found.flows.shape[1]
    # The network's plane runs from -1 to 1 between the outermost cells' centres, ours between their edges.
    places = found.flows * ((side - 1) / side)
    return replace(
        aligned,
        places=places,
        trust=agreement_of_places(aligned.matches, places),
        training=Training(found.grid[0], found.curve),
    )


def agreement_of_places(matches: PairedPoints, places: Tensor) -> Tensor:
    """By how much each match (P, K) agrees with places (N, h, h, 2) of the frames' cells, in [0, 1]."""
    maps = places.permute(0, 3, 1, 2)
    first, second = (
        sample_at(maps[of], points.to(maps)).transpose(1, 2)
        for of, points in ((matches.first, matches.first_points), (matches.second, matches.second_points))
    )
    return closeness(first, second) * (matches.weights > 0)


def _distance(params: AsicParams, backbones: BackboneProvider, device: torch.device) -> Distance:
    if params.reconstruction == "pixels":
        return pixel_distance
    return partial(perceptual_distance, load_vgg(backbones.weights("vgg16")).to(device))
