"""From trained networks to the alignment of the set they were trained on."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from workers.geometry.coordinates import resize_grid, sample
from workers.geometry.inversion import fold_fraction
from workers.geometry.similarity import identity_matrix
from workers.methods.neural_congealing.network.data import TrainingSet
from workers.methods.neural_congealing.network.options import NetworkOptions
from workers.methods.neural_congealing.network.state import TrainingState
from workers.methods.neural_congealing.network.stn import Maps
from workers.methods.neural_congealing.result import CongealingResult
from workers.methods.neural_congealing.stages import Sampled, agreement_scores, outliers

_SCORE_CELLS = 64


@torch.no_grad()
def congealing_result(state: TrainingState, data: TrainingSet, options: NetworkOptions) -> CongealingResult:
    """What the networks say of all pictures. The map of a reference image is the identity: it is the atlas."""
    size = options.atlas_size
    rows = data.rows(torch.arange(data.count, device=data.keys.device), state.mirrored)
    maps = _all_maps(state, data, rows, options)
    grids, flows = maps.grid(size), maps.flow_at(size)
    atlas = state.atlas.view()
    scores = _scores(data, rows, grids, atlas.saliency)
    theta, scale, tx, ty = maps.parameters.unbind(-1)
    mirror = torch.where(state.mirrored, -1.0, 1.0).view(-1, 1, 1)
    return CongealingResult(
        mirrored=state.mirrored.clone(),
        theta=theta,
        scale=scale,
        tx=tx,
        ty=ty,
        matrices=maps.matrices,
        flows=flows,
        grids=torch.stack([grids[..., 0] * mirror, grids[..., 1]], dim=-1),
        atlas_features=normalize(atlas.keys.detach(), dim=0),
        atlas_saliency=atlas.saliency.detach(),
        scores=scores,
        outlier=outliers(scores, torch.ones_like(scores)),
        fold=fold_fraction(grids, atlas.saliency),
        curve=state.curve,
        retained=1.0,
    )


def _all_maps(state: TrainingState, data: TrainingSet, rows: Tensor, options: NetworkOptions) -> Maps:
    flow = options.flow_epochs > 0
    maps = [state.network(data.pictures[part], flow=flow) for part in torch.split(rows, options.batch)]
    parameters, matrices = (torch.cat([getattr(m, name) for m in maps]) for name in ("parameters", "matrices"))
    flows = torch.cat([m.flow_at(options.atlas_size) for m in maps])
    if options.reference is not None:
        parameters[options.reference] = parameters.new_tensor([0.0, 1.0, 0.0, 0.0])
        matrices[options.reference] = identity_matrix(1, device=matrices.device)[0]
        flows[options.reference] = 0
    return Maps(parameters, matrices, flows)


def _scores(data: TrainingSet, rows: Tensor, grids: Tensor, saliency: Tensor) -> Tensor:
    """Mean cosine (N,) of each image with the mean of the others on the salient cells, on a lattice of the atlas."""
    cells = min(_SCORE_CELLS, grids.shape[1])
    lattice = resize_grid(grids, cells)
    features = [
        normalize(sample(data.keys[row : row + 1], lattice[k : k + 1]), dim=1) for k, row in enumerate(rows.tolist())
    ]
    sampled = Sampled(
        torch.cat(features).flatten(2),
        sample(data.masks[rows], lattice, padding="zeros").flatten(1),
        sample(data.valid[rows], lattice, padding="zeros").flatten(1),
    )
    weights = torch.ones(len(rows), device=grids.device)
    coarse = interpolate(saliency[None, None], (cells, cells), mode="bilinear", align_corners=False)
    return agreement_scores(sampled, weights, coarse.flatten())
