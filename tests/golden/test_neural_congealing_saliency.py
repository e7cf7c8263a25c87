"""Co-segmentation against values of the official code of Neural Congealing (arXiv 2302.03956)."""

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from workers.evaluation.template_set import COUNT, TemplateSet, template_set
from workers.saliency.cosegmentation import CoSegmentation, CoSegmentationOptions, cosegment
from workers.saliency.votes import THRESHOLD, cluster_means, count_votes, salient_clusters, votes_needed

LABELS = torch.tensor([[0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1], [0, 1, 1, 2, 2, 2]]).unsqueeze(1)
SALIENCY = torch.tensor(
    [[0.9, 0.8, 0.01, 0.02, 0.07, 0.06], [0.5, 0.5, 0.5, 0.1, 0.1, 0.1], [0.06, 0.2, 0.2, 0.01, 0, 0.2]]
).unsqueeze(1)


def test_votes() -> None:
    means = cluster_means(LABELS, SALIENCY, 3)
    assert means[1, 2].isnan()
    assert count_votes(means).tolist() == [2, 2, 1]
    assert votes_needed(3, 0.8) == 3
    assert salient_clusters(means, share=0.8).tolist() == [False, False, False]
    assert votes_needed(3, 0.6) == 2
    assert salient_clusters(means, share=0.6).tolist() == [True, True, False]


def test_a_mean_at_the_threshold_is_no_vote() -> None:
    means = torch.tensor([[THRESHOLD, THRESHOLD + 1e-9, float("nan")]], dtype=torch.float64)
    assert count_votes(means).tolist() == [0, 1, 0]


@pytest.mark.parametrize(("images", "share", "votes"), [(12, 0.75, 9), (12, 0.8, 10), (5, 0.2, 1), (100, 0.07, 7)])
def test_needed_votes_are_rounded_up_but_not_by_rounding_errors(images: int, share: float, votes: int) -> None:
    assert votes_needed(images, share) == votes


def published_prior(drawn: TemplateSet) -> Tensor:
    centres = (2 * torch.arange(32) + 1) / 32 - 1
    y, x = torch.meshgrid(centres, centres, indexing="ij")
    masks = interpolate(torch.from_numpy(drawn.image_masks), (32, 32), mode="bilinear", antialias=True)[:, 0]
    waves = torch.stack([0.03 * (1 + torch.sin(5 * y + 3 * x + i)) for i in range(COUNT)])
    raw = 0.6 * masks + waves
    low, high = raw.amin(dim=(1, 2), keepdim=True), raw.amax(dim=(1, 2), keepdim=True)
    return ((raw - low) / (high - low)).unsqueeze(1)


def segmented(drawn: TemplateSet, options: CoSegmentationOptions) -> CoSegmentation:
    features = interpolate(torch.from_numpy(drawn.features), (63, 63), mode="bilinear", antialias=True)
    return cosegment(features, published_prior(drawn), torch.from_numpy(drawn.images), options)


def overlaps(found: CoSegmentation, drawn: TemplateSet) -> npt.NDArray[np.float64]:
    masks, truth = found.image_masks.numpy(), drawn.image_masks[:, 0] > 0.5
    shared: npt.NDArray[np.float64] = (masks & truth).sum(axis=(1, 2)) / (masks | truth).sum(axis=(1, 2))
    return shared


def test_the_official_rule_on_the_template_set() -> None:
    """The official code stops at 9 clusters and has a mean IoU of .701, with one image at .30.

    That IoU hangs on where k-means starts: ours has between .2 and .9 with other seeds. Only what does not is checked.
    """
    drawn = template_set()
    found = segmented(drawn, CoSegmentationOptions(compat=True))
    assert abs(found.clusters.count - 9) <= 2
    assert overlaps(found, drawn).min() < 0.6
    salient = found.votes >= votes_needed(COUNT, 0.8)
    whole_clusters = segmented(drawn, CoSegmentationOptions(compat=True, refine=False)).image_masks
    cells = interpolate(salient[found.labels].unsqueeze(1).float(), (256, 256), mode="nearest-exact")[:, 0]
    assert torch.equal(whole_clusters, cells > 0.5)


def test_the_default_beats_the_official_rule_on_the_template_set() -> None:
    """Wanted: a mean IoU of .85, no image below .6."""
    drawn = template_set()
    found = overlaps(segmented(drawn, CoSegmentationOptions()), drawn)
    assert found.mean() >= 0.95
    assert found.min() >= 0.8
