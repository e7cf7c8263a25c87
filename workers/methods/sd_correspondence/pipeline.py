"""Points found in other images by optimised prompts (arXiv 2305.15581)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from api_schemas.methods.sd_correspondence import SdCorrespondenceParams
from workers.methods.base import BaseResult, ExtendableMethod, InputImage, MethodResult
from workers.methods.features import require_structure
from workers.methods.sd_correspondence.finished import finished_learning, finished_matches
from workers.methods.sd_correspondence.outcome import outcome
from workers.methods.sd_correspondence.search import joined_embeddings, shares_of
from workers.methods.sd_correspondence.ways import go_back, go_there
from workers.methods.sd_correspondence.work import Work, lay_out
from workers.run_context import Run


class SdCorrespondence(ExtendableMethod[SdCorrespondenceParams]):
    """Places and heat maps of queried points, and the embeddings that find them."""

    def run(self, images: Sequence[InputImage], params: SdCorrespondenceParams, run: Run) -> MethodResult:
        """Find the queries; see `Method.run`. Checkpoints hold embeddings, half-way ones too, and what was found."""
        return find_queries(self._work(images, params, run))

    def extend(
        self, base: BaseResult, images: Sequence[InputImage], params: SdCorrespondenceParams, run: Run
    ) -> MethodResult:
        """Find the queries of a finished result in more images, by its embeddings; see `ExtendableMethod.extend`.

        Raises:
            OtherWeightsError: the embeddings were made with another network.
        """
        return find_in_more(base, self._work(images, params, run))

    def _work(self, images: Sequence[InputImage], params: SdCorrespondenceParams, run: Run) -> Work:
        # diffusers takes longer to import than torch.
        from workers.backbones.diffusion.attention import AttentionReader

        require_structure(images)
        networks = self.backbones.diffusion(params.model)
        return lay_out(images, params, AttentionReader(networks, heads=params.tuning.heads), run)


def find_queries(work: Work) -> MethodResult:
    """Learn all queries and find them."""
    work.pulse.stage("encoding")
    work.search.encode(work.params.sources)
    work.pulse.stage("optimisation")
    meter = work.search.meter(work.search.units_to_learn(work.batches))
    learnt = work.search.learn(work.batches, "learn", meter)
    matches = work.matches(shares_of(work.batches, learnt))
    work.pulse.stage("transfer")
    go_there(work, learnt, matches)
    work.pulse.stage("cycle")
    if work.params.cycle:
        go_back(work, matches, range(len(work.images)))
    return outcome(work, matches, *joined_embeddings(learnt))


def find_in_more(base: BaseResult, work: Work) -> MethodResult:
    """Find the queries of `base` in the images that come after its own.

    Raises:
        OtherWeightsError: the embeddings were made with another network.
    """
    learnt = finished_learning(base, work)
    matches = finished_matches(base, work)
    added = range(len(base.form.images), len(work.images))
    work.pulse.stage("transfer")
    go_there(work, learnt, matches, added)
    work.pulse.stage("cycle")
    if work.params.cycle:
        go_back(work, matches, added)
    embeddings, losses = (np.array(base.tensors[name]) for name in ("embeddings", "loss_curves"))
    return outcome(work, matches, embeddings, losses)
