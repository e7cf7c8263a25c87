"""What a finished result says, to go on from."""

from __future__ import annotations

import numpy as np
import torch

from workers.methods.base import BaseResult, OtherWeightsError
from workers.methods.sd_correspondence.matches import Matches, shares_told, take_up
from workers.methods.sd_correspondence.search import Learnt
from workers.methods.sd_correspondence.work import Work


def finished_learning(base: BaseResult, work: Work) -> list[Learnt]:
    """Read the embeddings of a result, by batch.

    Raises:
        OtherWeightsError: they were made with another network, or read otherwise.
    """
    here = work.search.pictures.reader.identity
    if base.backbone_identity != here:
        raise OtherWeightsError(
            f"the embeddings of the extended result were made with {base.backbone_identity}, here is {here}; bring the "
            "same weights, or submit a new job on all images"
        )
    embeddings = torch.from_numpy(np.array(base.tensors["embeddings"]))
    losses = torch.from_numpy(np.array(base.tensors["loss_curves"]))
    counts = [len(batch.groups) for batch in work.batches]
    parts = zip(torch.split(embeddings, counts), torch.split(losses, counts), strict=True)
    return [Learnt(own, curves, torch.full(own.shape[:2], torch.nan)) for own, curves in parts]


def finished_matches(base: BaseResult, work: Work) -> Matches:
    """Read what a result found."""
    rows = base.documents["matches"]
    assert isinstance(rows, list)
    matches = work.matches(shares_told(rows))
    take_up(
        matches,
        rows,
        {
            image: list(torch.from_numpy(np.array(heat, dtype=np.float32)))
            for image, heat in enumerate(base.image_tensors["heat_maps"])
        },
    )
    return matches
